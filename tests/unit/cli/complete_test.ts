import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { candidates } from "../../../src/cli/complete.ts";
import { COMPLETION_SCRIPTS, SHELLS } from "../../../src/cli/completion_scripts.ts";
import { Output } from "../../../src/cli/output.ts";
import { buildProgram } from "../../../src/cli/program.ts";
import type { VolumeInfo } from "../../../src/rpc/host_api.ts";
import { POLICY_NAMES } from "../../../src/settings/timeouts.ts";
import { serveControl } from "../../../src/rpc/server.ts";
import { ensureRunDir, runDirAt } from "../../../src/rpc/run_dir.ts";
import { refusingHandlers } from "../host/handlers.ts";
import { PATH, VOLUME } from "./volume_fixture.ts";

const COMMAND_NAMES = [
  "attach",
  "detach",
  "discover",
  "list",
  "show",
  "set",
  "path",
  "rescan",
  "serve",
  "target",
  "demo",
  "daemon",
  "completion",
  "version",
  "help",
];

async function words(line: string): Promise<string[]> {
  const context = { output: new Output({ json: false }), exitCode: 0, setVerbose: () => {} };
  return (await candidates(line, { program: buildProgram(context), context })).map(({ word }) => word);
}

Deno.test("candidates() completes commands, options and their values", async () => {
  assertEquals(await words("umpath "), COMMAND_NAMES);
  assertEquals(await words("umpath --json l"), ["list"]);
  assertEquals(await words("umpath at"), ["attach"]);
  assertEquals(await words("umpath attach nqn --de"), ["--device", "--depth"]);
  assertEquals(await words("umpath attach nqn --device "), ["auto", "ublk", "loop", "none"]);
  assertEquals(await words("umpath attach nqn --device=u"), ["--device=ublk"]);
  assertEquals(await words("umpath attach nqn -p "), []);
  assertEquals(await words("umpath attach --policy "), POLICY_NAMES.slice());
  assertEquals(await words("umpath attach --keep-alive "), ["5s", "off"]);
  assertEquals(await words("umpath attach --write-hold "), ["auto", "off"]);
  assertEquals(await words("umpath attach --hedge-reads "), ["off", "p99", "p99.9", "20ms"]);
  assertEquals(await words("umpath attach --hedge-reads p"), ["p99", "p99.9"]);
  assert((await words("umpath attach --host-iface ")).includes("lo"));
  assertEquals(await words("umpath detach --"), ["--all", "--force", "--json", "--verbose", "--help"]);
  assertEquals(await words("umpath detach --all --"), ["--force", "--json", "--verbose", "--help"]);
  assertEquals(await words("umpath -"), ["--json", "--verbose", "--version", "--help"]);
  assertEquals(await words("umpath help "), COMMAND_NAMES.slice(0, -1));
  assertEquals(await words("umpath help path "), ["add", "remove", "enable", "disable"]);
  assertEquals(await words("umpath help path add "), []);
  assertEquals(await words("umpath path remove --"), ["--force", "--json", "--verbose", "--help"]);
  assertEquals(await words("umpath target "), ["list", "show", "ana", "resize", "listener", "fault", "stop"]);
  assertEquals(await words("umpath target listener "), ["add", "remove"]);
  assertEquals(
    await words("umpath target fault --"),
    ["--nqn", "--pid", "--fault-script", "--fault-seed", "--json", "--verbose", "--help"],
  );
  assertEquals(await words("umpath target fault 1:d"), ["1:delay=", "1:drop", "1:digest", "1:down"]);
  assertEquals(await words("umpath serve --block-size "), ["512", "4096"]);
  assertEquals(await words("umpath serve --listen 127.0.0.1,ana=i"), ["127.0.0.1,ana=inaccessible"]);
  for (const line of ["serve ", "serve --fault-script ", "serve --fault-script=x", "daemon --log-file "]) {
    assertEquals(await words(`umpath ${line}`), [":files"], line);
  }
  assertEquals(await words("umpath completion "), ["bash", "zsh", "fish"]);
  assertEquals(await words("umpath daemon --t"), []);
  assertEquals(await words("umpath nope "), []);
  assertEquals(await words(""), COMMAND_NAMES);
});

Deno.test("candidates() asks the daemon for volumes", async () => {
  const path = Deno.makeTempDirSync({ prefix: "umpath-complete-" });
  const dir = ensureRunDir(runDirAt(path));
  const paths = ["127.0.0.1", "::1"].map((traddr) => ({ ...PATH, traddr }));
  const volumes = ["vol-n1", "other"].map((name) =>
    ({ ...VOLUME, name, device: name === "other" ? null : "/dev/ublkb0", uuid: "", paths }) as VolumeInfo
  );
  Deno.env.set("UMPATH_RUN_DIR", path);
  const server = serveControl({
    socketPath: dir.socketPath,
    handlers: refusingHandlers({ list: () => Promise.resolve({ volumes }) }),
  });
  try {
    assertEquals(await words("umpath detach "), ["vol-n1", "other"]);
    assertEquals(await words("umpath detach vol-n1 "), ["other"]);
    assertEquals(await words("umpath detach /dev/ublkb0 "), ["other"]);
    assertEquals(await words("umpath show v"), ["vol-n1"]);
    assertEquals(await words("umpath show /dev/"), ["/dev/ublkb0"]);
    assertEquals(await words("umpath show ub"), ["ublkb0"]);
    assertEquals(await words("umpath show vol-n1 "), []);
    assertEquals(await words("umpath list v"), ["vol-n1"]);
    assertEquals(await words("umpath attach n"), [VOLUME.nqn]);
    assertEquals(await words("umpath set vol-n1 no-path-timeout="), ["no-path-timeout=1m", "no-path-timeout=off"]);
    assertEquals(await words("umpath set vol-n1 connect-timeout="), ["connect-timeout=5s", "connect-timeout=10s"]);
    assertEquals(await words("umpath path "), ["add", "remove", "enable", "disable"]);
    assertEquals(await words("umpath path remove "), ["vol-n1", "other"]);
    assertEquals(await words("umpath path remove --force o"), ["other"]);
    assertEquals(await words("umpath path remove vol-n1 "), ["127.0.0.1:4420", "[::1]:4420"]);
    assertEquals(await words("umpath path add vol-n1 "), []);
    assertEquals(await words("umpath set "), ["vol-n1", "other"]);
    assertEquals(await words("umpath set vol-n1 policy=q"), ["policy=queue-depth"]);
    assertEquals((await words("umpath set vol-n1 policy="))[0], `policy=${VOLUME.policy}`);
    assertEquals(await words("umpath set vol-n1 slow"), ["slow-path=off", "slow-path=demote"]);
    assertEquals(await words("umpath set vol-n1 failback="), ["failback=auto", "failback=manual", "failback=now"]);
    assertEquals(await words("umpath attach --failback "), ["auto", "manual"]);
    assertEquals(await words("umpath set vol-n1 hedge-reads=p"), ["hedge-reads=p99", "hedge-reads=p99.9"]);
    assertEquals(await words("umpath set vol-n1 policy=weighted w"), [
      ...["weight.127.0.0.1:4420=", "weight.[::1]:4420=", "write-hold="],
    ]);
    assertEquals(await words("umpath set vol-n1 preferred-path=["), ["preferred-path=[::1]:4420"]);
  } finally {
    await server.close();
    Deno.env.delete("UMPATH_RUN_DIR");
    Deno.removeSync(path, { recursive: true });
  }
});

Deno.test("candidates() offers what a daemon has left to detach, show and list, and to nothing else", async () => {
  const path = Deno.makeTempDirSync({ prefix: "umpath-complete-" });
  const dir = ensureRunDir(runDirAt(path));
  const rest = { driver: "loop", why: "its daemon died", use: null, words: "", remedy: "" } as const;
  const left = [{ ...rest, name: "old-n1", device: "/dev/loop90" }, { ...rest, name: "", device: "/dev/ublkb90" }];
  const volumes = [{ ...VOLUME, name: "vol-n1", device: "/dev/ublkb0", uuid: "" } as VolumeInfo];
  Deno.env.set("UMPATH_RUN_DIR", path);
  const server = serveControl({
    socketPath: dir.socketPath,
    handlers: refusingHandlers({ list: () => Promise.resolve({ volumes, left }) }),
  });
  try {
    for (const verb of ["detach", "show", "list"]) {
      assertEquals(await words(`umpath ${verb} `), ["vol-n1", "old-n1", "/dev/ublkb90"], verb);
      assertEquals(await words(`umpath ${verb} /dev/l`), ["/dev/loop90"], verb);
      assertEquals(await words(`umpath ${verb} ublkb9`), ["ublkb90"], verb);
    }
    assertEquals(await words("umpath detach old-n1 /dev/ublkb90 "), ["vol-n1"]);
    for (const verb of ["set", "rescan", "path add"]) assertEquals(await words(`umpath ${verb} `), ["vol-n1"], verb);
  } finally {
    await server.close();
    Deno.env.delete("UMPATH_RUN_DIR");
    Deno.removeSync(path, { recursive: true });
  }
});

Deno.test("COMPLETION_SCRIPTS parse in their shells, and bash completes with them", async (t) => {
  for (const shell of SHELLS) {
    const found = await output("sh", ["-c", `command -v ${shell}`]) !== "";
    await t.step({
      name: `${shell} ${found ? "reads" : "is not installed, it cannot read"} its script`,
      ignore: !found,
      fn: async () => {
        const file = Deno.makeTempFileSync();
        Deno.writeTextFileSync(file, COMPLETION_SCRIPTS[shell]);
        const { success } = await new Deno.Command(shell, { args: ["-n", file] }).output();
        Deno.removeSync(file);
        assertEquals(success, true);
      },
    });
  }
  await t.step("bash strips what it completes after = and does not evaluate the line", async () => {
    const script = `${COMPLETION_SCRIPTS.bash}
      umpath() { printf '%s\\n' "line=$3" >&2; printf -- '--device=ublk\\tkind\\n--device=none\\tkind\\n'; }
      COMP_LINE='umpath attach $(echo evaluated) --device=' COMP_POINT=41 _umpath 2>&1
      COMP_LINE='umpath attach $(echo evaluated) --device='; COMP_POINT=\${#COMP_LINE}; _umpath
      printf '<%s>' "\${COMPREPLY[@]}"`;
    const text = await output("bash", ["-c", script]);
    assertStringIncludes(text, "<ublk><none>");
    assertEquals(text.includes("line=umpath attach evaluated"), false);
  });
});

async function output(program: string, args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(program, { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim();
}
