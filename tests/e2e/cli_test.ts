/** The packed program against bad words, hosts that lack something, and portals that are none. Needs no target. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Cli, Port, type Result, UMPATH, until } from "./cli_fixture.ts";

const NQN = "nqn.2026-11.io.test:vol";
const NOWHERE = "127.0.0.1:1";

function canDo(path: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(path, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

const canUnshareNet = canDo("unshare", "-n", "true");
const isRoot = Deno.uid() === 0;
const canSetpriv = isRoot && canDo("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "true");

/** Fails unless the command ended so, printed nothing on stdout, and showed no stack. */
function assertFailed(result: Result, code: number, ...words: (string | RegExp)[]): void {
  assertEquals(result.code, code, result.stderr);
  assertEquals(result.stdout, "");
  assert(!/^\s+at /m.test(result.stderr), `a stack is shown: ${result.stderr}`);
  for (const word of words) {
    if (typeof word === "string") assertStringIncludes(result.stderr, word);
    else assertMatch(result.stderr, word);
  }
}

/** Attaches over one path, without a kernel device. */
function attach(cli: Cli, path: string, ...args: string[]): Promise<Result> {
  return cli.run("attach", NQN, "-p", path, "--device", "none", ...args);
}

Deno.test("umpath refuses wrong words with exit code 2 and says which, and starts no daemon for them", async () => {
  await using cli = new Cli();
  const cases: [args: string[], words: string][] = [
    [["frobnicate"], '"frobnicate"'],
    [["atach", NQN, "-p", NOWHERE], "Did you mean umpath attach?"],
    [["list", "--frobnicate"], '"--frobnicate"'],
    [["attach", NQN, "-p", NOWHERE, "--red-only"], "Did you mean --read-only?"],
    [["attach", "-p", NOWHERE], "no NQN is given"],
    [["attach", "127.0.0.1", "-p", NOWHERE], "it is an address"],
    [["attach", "nqn.2014-08.org.nvmexpress.discovery", "-p", NOWHERE], "discovery"],
    [["attach", NQN], "no path"],
    [["attach", NQN, "-p", "storage.example.com"], '"storage.example.com"'],
    [["attach", NQN, "-p", "127.0.0.1:99999"], '"99999"'],
    [["attach", NQN, "-p", "[::1"], '"[::1"'],
    [["attach", NQN, "-p", NOWHERE, "--io-timeout", "soon"], '"soon" for --io-timeout'],
    [["attach", NQN, "-p", NOWHERE, "--keep-alive", "5"], "it has no unit"],
    [["attach", NQN, "-p", NOWHERE, "--nsid", "0"], '"0" for --nsid'],
    [["attach", NQN, "-p", NOWHERE, "--depth", "1G"], '"1G" for --depth'],
    [["attach", NQN, "-p", NOWHERE, "--hostnqn", "me"], '"me" for --hostnqn'],
    [["attach", NQN, "-p", NOWHERE, "--hostid", "1"], '"1" for --hostid'],
    [["detach"], "no volume"],
    [["completion", "tcsh"], '"tcsh"'],
  ];
  for (const [args, words] of cases) assertFailed(await cli.run(...args), 2, "umpath: ", words);
  assertEquals(cli.daemonPid(), null);
});

Deno.test("umpath --json says errors as JSON on stderr, wrong words too", async () => {
  await using cli = new Cli();
  for (const args of [["--json", "frobnicate"], ["list", "--jsn", "--json"], ["attach", "vol", "--json"]]) {
    const result = await cli.run(...args);
    assertFailed(result, 2);
    const { error } = JSON.parse(result.stderr);
    assertEquals(error.code, "usage");
    assertEquals([typeof error.message, typeof error.hint], ["string", "string"]);
  }
});

Deno.test("umpath without a daemon: nothing is attached", async () => {
  await using cli = new Cli();
  const list = await cli.run("list");
  assertEquals([list.code, list.stdout, list.stderr], [0, "", "Nothing is attached\n"]);
  const nothing = { schemaVersion: 1, volumes: [], left: [] };
  assertEquals(JSON.parse((await cli.run("list", "--json")).stdout), { ...nothing, attaching: [] });
  assertEquals(JSON.parse((await cli.run("show", "--json")).stdout), { ...nothing, daemon: null });
  assertFailed(await cli.run("show", "vol-n1"), 3, '"vol-n1"');
  assertFailed(await cli.run("detach", "/dev/ublkb7"), 3, '"/dev/ublkb7"');
  assertEquals((await cli.run("detach", "--all")).code, 0);
  assertEquals(cli.daemonPid(), null);
});

Deno.test("umpath prints help, versions and completion scripts without a daemon", async () => {
  await using cli = new Cli();
  assertMatch((await cli.run("version")).stdout, /^umpath \d+\.\d+\.\d+\n$/);
  for (const command of ["attach", "detach", "list", "show", "daemon", "completion", "version"]) {
    const { code, stdout, stderr } = await cli.run(command, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, `Usage: umpath ${command}`);
  }
  assertStringIncludes((await cli.run("completion", "bash")).stdout, "complete -F _umpath umpath");
  assertStringIncludes((await cli.run("complete", "--", "umpath de")).stdout, "detach\t");
});

Deno.test("umpath ends quietly when the reader of its output has left, and says when it cannot write", async () => {
  await using cli = new Cli();
  const script = 'exec 3> >(exit 0); sleep 0.3; "$0" --help >&3; echo "$?"';
  const piped = await cli.runProgram(["/bin/bash", "-c", script, UMPATH]);
  assertEquals([piped.stdout, piped.stderr], ["0\n", ""]);
  const full = await cli.runProgram(["/bin/sh", "-c", '"$0" --help > /dev/full', UMPATH]);
  assertFailed(full, 6, "Cannot write");
});

Deno.test({
  name: `attach as another user than root ends with 6 ${
    canSetpriv ? "and says to run as root" : "(needs root and setpriv)"
  }`,
  ignore: !canSetpriv,
  fn: async () => {
    await using cli = new Cli();
    Deno.chmodSync(cli.folder, 0o755);
    const program = `${cli.folder}/umpath`;
    Deno.copyFileSync(UMPATH, program);
    Deno.chmodSync(program, 0o755);
    const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    const attachWords = [program, "attach", NQN, "-p", NOWHERE];
    assertFailed(
      await cli.runProgram(["setpriv", ...nobody, ...attachWords]),
      6,
      cli.runDir,
      "permission denied",
      "as root",
    );
    Deno.mkdirSync(cli.runDir, { mode: 0o700 });
    assertFailed(await cli.runProgram(["setpriv", ...nobody, ...attachWords]), 6, cli.runDir, "belongs to root");
    assertFailed(await cli.runProgram(["setpriv", ...nobody, program, "list"]), 6, "as root");
  },
});

Deno.test("umpath refuses a run folder that others can reach", async () => {
  await using cli = new Cli();
  Deno.mkdirSync(cli.runDir);
  Deno.chmodSync(cli.runDir, 0o770);
  assertFailed(await attach(cli, NOWHERE), 6, cli.runDir, "other users can reach it");
  assertFailed(await cli.run("list"), 6, "other users can reach it");
});

Deno.test("attach where nothing listens ends with 4, names the path and why, and leaves no daemon", async () => {
  await using cli = new Cli();
  assertFailed(await attach(cli, NOWHERE), 4, NOWHERE, "connection refused");
  await cli.assertNoDaemonIsLeft();
  const json = await attach(cli, NOWHERE, "--json");
  assertFailed(json, 4);
  assertEquals(JSON.parse(json.stderr.trim().split("\n").at(-1)!).error.code, "unreachable");
  await cli.assertNoDaemonIsLeft();
});

Deno.test("attach over several paths where nothing listens names them all", async () => {
  await using cli = new Cli();
  const result = await cli.run("attach", NQN, "-p", NOWHERE, "-p", "[::1]:1", "--device", "none");
  assertFailed(result, 4, NOWHERE, "[::1]:1");
  await cli.assertNoDaemonIsLeft();
});

Deno.test("attach to a port that accepts and stays silent ends with 4 within the time given", async () => {
  await using cli = new Cli();
  await using port = new Port(() => new Promise(() => {}));
  const result = await attach(cli, port.path, "--connect-timeout", "500ms");
  assertFailed(result, 4, port.path, "does not answer");
  assert(port.accepted > 0);
  assert(result.seconds < 50, `it took ${result.seconds} s`);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("attach to a port that answers HTTP ends with 4 and says that it is not NVMe/TCP", async () => {
  await using cli = new Cli();
  await using port = new Port(async (connection) => {
    await connection.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
  });
  const result = await attach(cli, port.path, "--connect-timeout", "60s");
  assertFailed(result, 4, port.path, /not an NVMe\/TCP port: it answered with "HTTP\/1\.1 400/);
  assert(result.seconds < 50, "it does not wait for the time-out");
  await cli.assertNoDaemonIsLeft();
});

Deno.test("attach to a port that closes at once ends with 4 and says so", async () => {
  await using cli = new Cli();
  await using port = new Port((connection) => Promise.resolve(connection.close()));
  const result = await attach(cli, port.path, "--connect-timeout", "60s");
  assertFailed(result, 4, port.path, /closed|reset/);
  assert(result.seconds < 50, "it does not wait for the time-out");
  await cli.assertNoDaemonIsLeft();
});

Deno.test({
  name: `attach without a route ends with 4 ${canUnshareNet ? "and says so" : "(needs unshare -n)"}`,
  ignore: !canUnshareNet,
  fn: async () => {
    await using cli = new Cli();
    const words: [string, ...string[]] = ["unshare", "-n", UMPATH, "attach", NQN, "--device", "none", "-p"];
    assertFailed(await cli.runProgram([...words, "192.0.2.1"]), 4, "192.0.2.1:4420", /unreachable|no route/);
    await cli.assertNoDaemonIsLeft();
    assertFailed(
      await cli.runProgram([...words, "tcp://192.0.2.1?host-iface=nosuch0"]),
      4,
      /no interface "nosuch0" on this host/,
    );
    await cli.assertNoDaemonIsLeft();
  },
});

Deno.test("attach to an address that answers nothing ends with 4 within the time given", async () => {
  await using cli = new Cli();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { hostname, port } = listener.addr;
  // A full backlog, of one more than was asked for, makes the kernel drop what comes next.
  using _first = await Deno.connect({ hostname, port });
  using _second = await Deno.connect({ hostname, port });
  const result = await attach(cli, `${hostname}:${port}`, "--connect-timeout", "700ms");
  assertFailed(result, 4, `${hostname}:${port}`, "no answer within");
  assert(result.seconds < 50, `it took ${result.seconds} s`);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("two attaches at once that both fail share a daemon and leave none", async () => {
  await using cli = new Cli();
  const results = await Promise.all([attach(cli, NOWHERE), attach(cli, NOWHERE), attach(cli, NOWHERE, "--nsid", "2")]);
  for (const result of results) assertFailed(result, 4, NOWHERE);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("daemon serves until SIGTERM, is alone in its run folder, and a killed one is replaced", async () => {
  await using cli = new Cli();
  const first = cli.start("daemon");
  await until(() => canDo("test", "-S", `${cli.runDir}/control.sock`));
  assertEquals(cli.daemonPid(), first.pid);
  assertFailed(await cli.run("daemon"), 7, `process ${first.pid}`);
  assertEquals((await cli.run("list")).code, 0);
  assertFailed(await attach(cli, NOWHERE), 4);
  assertEquals(cli.daemonPid(), first.pid, "a daemon that a person started stays");
  first.kill("SIGTERM");
  assertEquals((await first.output()).code, 0);
  await cli.assertNoDaemonIsLeft();

  const second = cli.start("daemon");
  await until(() => canDo("test", "-S", `${cli.runDir}/control.sock`));
  second.kill("SIGKILL");
  await second.output();
  assertEquals((await cli.run("list")).stderr, "Nothing is attached\n");
  assertFailed(await attach(cli, NOWHERE), 4);
  await cli.assertNoDaemonIsLeft();
});
