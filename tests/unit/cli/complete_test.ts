import { assertEquals, assertStringIncludes } from "@std/assert";
import { candidates } from "../../../src/cli/complete.ts";
import { COMPLETION_SCRIPTS, SHELLS } from "../../../src/cli/completion_scripts.ts";
import { Output } from "../../../src/cli/output.ts";
import { buildProgram } from "../../../src/cli/program.ts";
import type { VolumeInfo } from "../../../src/host/api.ts";
import { serveControl } from "../../../src/host/control_server.ts";
import { ensureRunDir, runDirAt } from "../../../src/host/run_dir.ts";
import { refusingHandlers } from "../host/handlers.ts";
import { PATH } from "./volume_fixture.ts";

const COMMAND_NAMES = [
  "attach",
  "detach",
  "discover",
  "list",
  "show",
  "set",
  "path",
  "serve",
  "target",
  "demo",
  "daemon",
  "completion",
  "version",
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
  assertEquals(await words("umpath detach --"), ["--all", "--force", "--json", "--verbose", "--help"]);
  assertEquals(await words("umpath completion "), ["bash", "zsh", "fish"]);
  assertEquals(await words("umpath daemon --t"), []);
  assertEquals(await words("umpath nope "), COMMAND_NAMES);
  assertEquals(await words(""), COMMAND_NAMES);
});

Deno.test("candidates() asks the daemon for volumes", async () => {
  const path = Deno.makeTempDirSync({ prefix: "umpath-complete-" });
  const dir = ensureRunDir(runDirAt(path));
  const paths = ["127.0.0.1", "::1"].map((traddr) => ({ ...PATH, traddr }));
  const volumes = ["vol-n1", "other"].map((name) =>
    ({ name, device: null, uuid: "", state: "live", paths }) as VolumeInfo
  );
  Deno.env.set("UMPATH_RUN_DIR", path);
  const server = serveControl({
    socketPath: dir.socketPath,
    handlers: refusingHandlers({ list: () => Promise.resolve({ volumes }) }),
  });
  try {
    assertEquals(await words("umpath detach "), ["vol-n1", "other"]);
    assertEquals(await words("umpath show v"), ["vol-n1"]);
    assertEquals(await words("umpath path "), ["add", "remove", "enable", "disable"]);
    assertEquals(await words("umpath path remove "), ["vol-n1", "other"]);
    assertEquals(await words("umpath path remove --force o"), ["other"]);
    assertEquals(await words("umpath path remove vol-n1 "), ["127.0.0.1:4420", "[::1]:4420"]);
    assertEquals(await words("umpath path add vol-n1 "), []);
    assertEquals(await words("umpath set "), ["vol-n1", "other"]);
    assertEquals(await words("umpath set vol-n1 policy=q"), ["policy=queue-depth"]);
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
