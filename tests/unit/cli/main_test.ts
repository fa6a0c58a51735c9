import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { QUEUE_DEPTH_DEFAULT, QUEUE_DEPTH_MAX, WORKERS_MAX } from "../../../src/base/limits.ts";
import { formatDuration } from "../../../src/base/units.ts";
import { COMMANDS } from "../../../src/cli/commands.ts";
import { main, present } from "../../../src/cli/main.ts";
import { Output, OutputClosed } from "../../../src/cli/output.ts";
import { buildProgram, declareCommand, runProgram } from "../../../src/cli/program.ts";
import { TIMEOUT_OPTIONS } from "../../../src/cli/timeout_options.ts";
import type { AnyCommand } from "../../../src/cli/usage_errors.ts";
import { TIMEOUT_DEFAULTS } from "../../../src/settings/timeouts.ts";

/** An output whose two ends are kept. */
function captured(json = false, columns: number | null = null) {
  const text = { stdout: "", stderr: "" };
  const decoder = new TextDecoder();
  const keep = (end: "stdout" | "stderr") => (bytes: Uint8Array) => {
    text[end] += decoder.decode(bytes);
    return bytes.length;
  };
  return { text, output: new Output({ json, columns, stdout: keep("stdout"), stderr: keep("stderr") }) };
}

/** What the words print on stdout and stderr, and how they end. */
async function run(...args: string[]): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  return await runAt(null, ...args);
}

/** As {@linkcode run}, on a terminal of so many columns. */
async function runAt(
  columns: number | null,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const { text, output } = captured(args.includes("--json"), columns);
  const runPath = Deno.env.get("UMPATH_RUN_DIR");
  Deno.env.set("UMPATH_RUN_DIR", "/nonexistent/umpath");
  try {
    await runProgram(args, { output, exitCode: 0, setVerbose: () => {} });
    return { ...text, exitCode: 0 };
  } catch (thrown) {
    return { ...text, exitCode: present(thrown, output), stderr: text.stderr };
  } finally {
    if (runPath === undefined) Deno.env.delete("UMPATH_RUN_DIR");
    else Deno.env.set("UMPATH_RUN_DIR", runPath);
  }
}

Deno.test("runProgram() refuses wrong words with exit code 2 and says which", async () => {
  const nqn = "nqn.2026-11.io.test:vol";
  const cases: [args: string[], words: string][] = [
    [[], "no command is given"],
    [["--json"], "no command is given"],
    [["frobnicate"], '"frobnicate"'],
    [["atach", nqn, "-p", "127.0.0.1"], "Did you mean umpath attach?"],
    [["lsit"], "Did you mean umpath list?"],
    [["list", "--all"], '"--all"'],
    [["list", "--jsn"], "Did you mean --json?"],
    [["list", "--json=1"], "--json takes no value"],
    [["--foo", "list"], "umpath has no such option"],
    [["show", "x", "y"], 'Cannot run umpath show with "y": it takes one <volume>'],
    [["path"], "Cannot run umpath path: no command is given"],
    [["path", "ad"], "Did you mean umpath path add?"],
    [["path", "ad", "--help"], "Did you mean umpath path add?"],
    [["add", "vol"], "Did you mean umpath path add or umpath target listener add?"],
    [["path", "add"], "Cannot run umpath path add: <volume> is missing"],
    [["path", "add", "vol"], "Cannot run umpath path add: <path> is missing"],
    [["path", "add"], "umpath path add --help says how it is used"],
    [["path", "remove", "--frce"], 'Cannot use option "--frce": umpath path remove has no such option'],
    [["path", "remove", "--frce"], "Did you mean --force?"],
    [["path", "vol-n1", "add", "127.0.0.1"], "Write umpath path add vol-n1 127.0.0.1"],
    [["path", "add", "127.0.0.1", "vol-n1"], "Write umpath path add vol-n1 127.0.0.1"],
    [["path", "disable", "127.0.0.1", "vol-n1"], "Write umpath path disable vol-n1 127.0.0.1"],
    [["help", "path", "nope"], 'Cannot run umpath path "nope"'],
    [["target", "lis"], "Did you mean umpath target list?"],
    [["target", "fault", "--bogus"], "umpath target fault has no such option"],
    [["target", "ana", "127.0.0.1:4420"], "Cannot run umpath target ana: <state> is missing"],
    [["target", "resize", "1"], "Cannot run umpath target resize: <size> is missing"],
    [["target", "listener"], "The commands are add and remove"],
    [["target", "listener", "rm", "x"], 'Cannot run umpath target listener "rm"'],
    [["target", "--nqn", nqn, "show"], "Write it behind the command: umpath target COMMAND --nqn"],
    [["set", "policy=queue-depth", "vol-n1"], "Write umpath set vol-n1 policy=queue-depth"],
    [["set", "policy=queue-depth"], "the volume is missing before the settings"],
    [["set", "vol-n1", "policy", "round-robin"], "Write policy=round-robin"],
    [["set", "vol-n1", "read-only=on"], "cannot be changed while the volume is attached"],
    [["set", "vol-n1"], "Cannot run umpath set: <setting> is missing"],
    [["attach"], "no NQN is given"],
    [["attach", "127.0.0.1", "-p", nqn], "it is an NQN, not an address"],
    [["attach", nqn, "127.0.0.1"], `Write umpath attach ${nqn} -p 127.0.0.1`],
    [["attach", "--nsid", "-p", "127.0.0.1"], 'Cannot use option "--nsid": its value is missing'],
    [["serve"], "Cannot serve: nothing to serve, no NQN and no listener are given"],
    [["serve", "--ram", "1G", "--nqn", nqn], "Cannot serve: no listener is given"],
    [["serve", "--ram", "1G", "--nqn", nqn, "--listen", ":4730"], "the address is missing"],
    [["serve", "--ram", "1G", "--nqn", nqn, "--listen", "4730"], "127.0.0.1:4730"],
    [["serve", "--ram", "1G", "--nqn", nqn, "--listen", "0.0.0.0:4730"], "127.0.0.1:4730"],
    [["attach", "127.0.0.1", "-p", "127.0.0.1"], 'Cannot use NQN "127.0.0.1": it is an address'],
    [["attach", nqn], "no path is given"],
    [["attach", nqn, "-p"], "its value is missing"],
    [["attach", nqn, "-p", "127.0.0.1", "-p", "127.0.0.1:4420"], "given twice"],
    [["attach", nqn, "-p", "storage.example"], '"storage.example"'],
    [["attach", nqn, "-p", "127.0.0.1", "--nsid", "0"], '"0" for --nsid'],
    [["attach", nqn, "-p", "127.0.0.1", "--queues", "65"], '"65" for --queues'],
    [["attach", nqn, "-p", "127.0.0.1", "--depth", "1025"], '"1025" for --depth'],
    [["attach", nqn, "-p", "127.0.0.1", "--policy", "fastest"], '"fastest" for --policy'],
    [["attach", nqn, "-p", "127.0.0.1", "--device", "floppy"], '"floppy" for --device'],
    [["attach", nqn, "-p", "127.0.0.1", "--name", "a b"], '"a b" for --name'],
    [["attach", nqn, "-p", "127.0.0.1", "--io-timeout", "5"], '"5" for --io-timeout: it has no unit'],
    [["attach", nqn, "-p", "127.0.0.1", "--connect-timeout", "off"], "Cannot turn --connect-timeout off"],
    [["attach", nqn, "--discover", "storage"], 'portal "storage"'],
    [["attach", "--discover", "10.0.0.1"], "no NQN is given"],
    [["attach", nqn, "--all"], "--all is given without --discover"],
    [["attach", "--discover", "10.0.0.1", "--all", "-p", "10.0.0.2"], "-p is given with --all"],
    [["attach", "--discover", "10.0.0.1", "--all", "--nsid", "1"], "--all is of every namespace"],
    [["attach", "--discover", "10.0.0.1", "--all", "--name", "x"], "--all is of every namespace"],
    [["attach", nqn, "-p", "10.0.0.1", "--host-iface", "eth0"], "--host-iface is given without --discover"],
    [["attach", nqn, "--discover", "10.0.0.1", "--host-traddr", "eth0"], '"eth0" for --host-traddr'],
    [["attach", nqn, "--discover", "10.0.0.1", "--host-iface", "a/b"], '"a/b" for --host-iface'],
    [["discover"], "<portal> is missing"],
    [["discover", "10.0.0.1:99999"], 'portal "10.0.0.1:99999"'],
    [["discover", "10.0.0.1", "--connect-timeout", "5"], '"5" for --connect-timeout'],
    [["detach"], "no volume is named"],
    [["detach", "a", "--all"], "--all is given too"],
    [["daemon", "--workers", "0"], '"0" for --workers'],
    [["completion"], "<shell> is missing"],
    [["completion", "ksh"], '"ksh"'],
    [["help", "nope"], '"nope"'],
  ];
  for (const [args, words] of cases) {
    const { stdout, stderr, exitCode } = await run(...args);
    assertEquals(exitCode, 2, args.join(" "));
    assertEquals(stdout, "", args.join(" "));
    assertStringIncludes(args.includes("--json") ? JSON.parse(stderr).error.message : stderr, words);
    if (args.includes("ksh")) assert(!stderr.includes("Did you mean"), "another shell is no typing error");
    assert(!stderr.includes("    at "), "no stack");
  }
});

/** The words of every command and verb that the help shows. */
async function everyCommand(): Promise<string[][]> {
  const context = { output: captured().output, exitCode: 0, setVerbose: () => {} };
  const program = buildProgram(context);
  for (const entry of COMMANDS.filter(({ hidden }) => !hidden)) await declareCommand(program, entry, context);
  const below = (command: AnyCommand, words: string[]): string[][] =>
    command.commands.flatMap((verb) => [[...words, verb.name()], ...below(verb, [...words, verb.name()])]);
  const hidden = COMMANDS.filter((entry) => entry.hidden).map(({ name }) => name);
  return below(program as unknown as AnyCommand, []).filter(([name]) => !hidden.includes(name!));
}

Deno.test("runProgram() has help for every command and verb, with notes, examples and exit codes, on stdout", async () => {
  const commands = await everyCommand();
  assert(commands.some((words) => words.join(" ") === "target listener remove"));
  for (const words of commands) {
    const { stdout, stderr, exitCode } = await run(...words, "--help");
    assertEquals([exitCode, stderr], [0, ""]);
    for (
      const part of [
        `Usage: umpath ${words.join(" ")} `,
        "Examples:\n  $ umpath ",
        "Exit codes:",
        "--json",
        "-h, --help",
      ]
    ) {
      assertStringIncludes(stdout, part);
    }
    assert(!/^Usage: .*\[options\] ./m.test(stdout), "options stand last");
    assertEquals((await run("help", ...words)).stdout, stdout);
    assertEquals((await run(...words.slice(0, -1), "help", ...words.slice(-1))).stdout, stdout);
  }
  const { stdout } = await run("--help");
  for (const { name, hidden } of COMMANDS) assertEquals(stdout.includes(`\n  ${name} `), hidden !== true, name);
  assertEquals((await run("help")).stdout, stdout);
  assertEquals(JSON.parse((await run("--json", "--help")).stdout), { schemaVersion: 1, help: stdout });
});

Deno.test("runProgram() has help that fits the terminal from 40 columns on, and 80 elsewhere", async () => {
  for (const columns of [null, 40, 60, 80, 120]) {
    for (const words of [[], ...await everyCommand()]) {
      const width = Math.min(columns ?? 80, 100);
      for (const line of (await runAt(columns, ...words, "--help")).stdout.split("\n")) {
        // A word alone that is longer than the line cannot be broken; the backslash of an example follows it.
        const isWordAlone = line.trim().replace(/ \\$/, "").replace(/'.*'/, "word").split(" ").length === 1;
        assert(line.length <= width || isWordAlone, `${columns}: ${line}`);
      }
    }
  }
});

Deno.test("runProgram() has help with the defaults that hold", async () => {
  const attach = (await run("attach", "--help")).stdout.replace(/\s+/g, " ");
  for (const [key, ms] of Object.entries(TIMEOUT_DEFAULTS)) {
    const { name } = TIMEOUT_OPTIONS.find((option) => option.key === key)!;
    assertMatch(attach, new RegExp(`${name} <duration> [^<]*\\(default: ${formatDuration(ms)}\\)`));
  }
  for (
    const words of [`1 to ${QUEUE_DEPTH_MAX} (default: ${QUEUE_DEPTH_DEFAULT})`, `at most ${WORKERS_MAX}`, "auto)"]
  ) {
    assertStringIncludes(attach, words);
  }
  for (const words of ["UMPATH_DEBUG", "UMPATH_SLOW", "130  interrupted"]) {
    assertStringIncludes((await run("--help")).stdout, words);
  }
});

Deno.test("runProgram() finds nothing attached where no daemon runs", async () => {
  assertEquals(await run("list"), { stdout: "", stderr: "Nothing is attached\n", exitCode: 0 });
  const json = await run("list", "--json");
  assertEquals(JSON.parse(json.stdout), { schemaVersion: 1, volumes: [], attaching: [], left: [] });
  assertEquals([json.stderr, json.exitCode], ["", 0]);
  assertEquals((await run("show")).exitCode, 0);
  assertEquals(JSON.parse((await run("show", "--json")).stdout), {
    schemaVersion: 1,
    volumes: [],
    left: [],
    daemon: null,
  });
  assertEquals((await run("list", "vol")).exitCode, 3);
  assertEquals((await run("show", "vol")).exitCode, 3);
  assertEquals((await run("detach", "vol")).exitCode, 3);
  assertEquals((await run("detach", "--all")).exitCode, 0);
  const error = JSON.parse((await run("--json", "show", "vol")).stderr).error;
  assertEquals(error.code, "not-found");
});

Deno.test("runProgram() prints the version", async () => {
  const { version } = JSON.parse(Deno.readTextFileSync(new URL("../../../deno.json", import.meta.url)));
  assertEquals((await run("version")).stdout, `umpath ${version}\n`);
  assertEquals((await run("--version")).stdout, `umpath ${version}\n`);
  assertEquals(JSON.parse((await run("version", "--json")).stdout).version, version);
});

Deno.test("present() gives each error its exit code and words", () => {
  const { text, output } = captured();
  assertEquals(present(new UmpathError("in-use", "Cannot detach\x1b[2J", { hint: "Unmount it" }), output), 7);
  assertEquals(text.stderr, "umpath: Cannot detach\\u001b[2J\nhint: Unmount it\n");
  text.stderr = "";
  assertEquals(present(new TypeError("x is not a function"), output), 1);
  assertStringIncludes(text.stderr, "umpath: a bug in umpath: x is not a function\nhint: Set UMPATH_DEBUG=1");
  assertEquals(present(new OutputClosed(), output), 0);
});

Deno.test("present() shows the stack and the causes with UMPATH_DEBUG=1", () => {
  const { text, output } = captured();
  Deno.env.set("UMPATH_DEBUG", "1");
  try {
    present(new UmpathError("unreachable", "Cannot connect", { cause: new Error("deep") }), output);
  } finally {
    Deno.env.delete("UMPATH_DEBUG");
  }
  assertStringIncludes(text.stderr, "main_test.ts");
  assertStringIncludes(text.stderr, "Caused by: Error: deep");
});

Deno.test("Output.waiting() says what a long wait is for where somebody watches, and nothing otherwise", async () => {
  for (
    const [options, words] of [
      [{ isWatched: true }, "waiting for a path…\n"],
      [{ isWatched: false }, ""],
      [{ isWatched: true, json: true }, ""],
    ] as const
  ) {
    let text = "";
    const stderr = (bytes: Uint8Array) => {
      text += new TextDecoder().decode(bytes);
      return bytes.length;
    };
    const output = new Output({ json: false, ...options, stderr, waitNoteMs: 1 });
    assertEquals(await output.waiting("a path", Promise.resolve(6)), 6);
    const { promise, resolve } = Promise.withResolvers<number>();
    const waited = output.waiting("a path", promise);
    if (words !== "") await eventually(() => text !== "");
    assertEquals(text, words);
    resolve(7);
    assertEquals(await waited, 7);
  }
});

async function eventually(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1));
}

Deno.test("runProgram() prints JSON for whatever prints, with --json", async () => {
  for (const args of [["completion", "bash"], ["version"], ["--version"], ["--help"], ["help", "path", "add"]]) {
    assertEquals(JSON.parse((await run(...args, "--json")).stdout).schemaVersion, 1, args.join(" "));
  }
});

Deno.test("Output says that the reader has left, waits for a full pipe, and loses stderr quietly", () => {
  const broken = () => {
    throw new Deno.errors.BrokenPipe("gone");
  };
  const output = new Output({ json: false, stdout: broken, stderr: broken });
  output.errorLine("lost");
  let left = false;
  try {
    output.line("x");
  } catch (error) {
    left = error instanceof OutputClosed;
  }
  assert(left);
  let calls = 0;
  const full = (bytes: Uint8Array) => {
    if (calls++ % 2 === 0) throw new Deno.errors.WouldBlock("full");
    return Math.min(bytes.length, 2);
  };
  new Output({ json: false, stdout: full }).line("abc");
  assertEquals(calls, 4);
});

Deno.test("Output.warn() tells once what holds for several volumes", () => {
  for (const [json, line] of [[false, "umpath: warning: A"], [true, '{"warning":"A"}']] as const) {
    const { text, output } = captured(json);
    output.warn("A");
    output.warn("B");
    output.warn("A");
    assertEquals(text.stderr, `${line}\n${line.replace("A", "B")}\n`);
  }
});

Deno.test("main() never throws", async () => {
  assertEquals(await main(["version", "--nope", "--json"]), 2);
});
