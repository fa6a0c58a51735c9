/** What `umpath serve` and `umpath target` say to words that they cannot take, and the exit codes that go with it. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Cli } from "./cli_fixture.ts";
import { Served } from "./served.ts";

const NQN = "nqn.2026-11.io.test:served";
const HERE = ["--nqn", NQN, "--listen", "127.0.0.1:0"];
const RAM = ["--ram", "1M"];

/** Words, with FOLDER for a folder that has the files "odd" and "tiny", the exit code, and what is said. */
const BAD_WORDS: readonly [words: string[], code: number, said: string][] = [
  [HERE, 2, "Cannot serve: nothing to serve is given"],
  [[...RAM, "--listen", "127.0.0.1"], 2, "Cannot serve: no NQN is given"],
  [[...RAM, "--nqn", NQN], 2, "Cannot serve: no listener is given"],
  [["FOLDER/none", ...HERE], 3, 'Cannot serve "FOLDER/none": there is no such file'],
  [["FOLDER", ...HERE], 2, 'Cannot serve "FOLDER": it is a folder'],
  [["/dev/null", ...HERE], 2, 'Cannot serve "/dev/null": it is neither a file nor a block device'],
  [["FOLDER/tiny", ...HERE], 2, 'Cannot serve "FOLDER/tiny": it has 1 byte, and one block has 4096'],
  [["FOLDER/odd", "--size", "16K", ...HERE], 2, "it has 9.8 KiB, not the 16 KiB of --size"],
  [["FOLDER/new", "--size", "1001", ...HERE], 2, 'Cannot use "1001" for --size: it is not a multiple of 4 KiB'],
  [["FOLDER/odd", ...RAM, ...HERE], 2, 'Cannot serve: "FOLDER/odd" and --ram are both given'],
  [["--ram", "0", ...HERE], 2, 'Cannot use "0" for --ram: nothing can be stored in it'],
  [["--ram", "1X", ...HERE], 2, 'Cannot use "1X" for --ram: it is not a size'],
  [["--ram", "100T", ...HERE], 6, "Cannot serve 100 TiB of memory: this host has"],
  [["FOLDER/empty", ...HERE], 2, 'Cannot serve "FOLDER/empty": it is empty'],
  [["FOLDER/no/disk", ...HERE], 3, 'Cannot serve "FOLDER/no/disk": there is no such folder'],
  [["FOLDER/no/disk", "--size", "1M", ...HERE], 3, 'Cannot make "FOLDER/no/disk": there is no such folder'],
  [["FOLDER/huge", "--size", "7P", ...HERE], 6, 'Cannot make "FOLDER/huge" 7 PiB large: file too large'],
  [
    ["FOLDER/odd", "--namespace", "FOLDER/odd", ...HERE, "--read-only"],
    2,
    "they are one storage, or were given one UUID",
  ],
  [[...RAM, "--block-size", "1024", ...HERE], 2, 'Cannot use "1024" for the block size: it is neither 512 nor 4096'],
  [[...RAM, "--namespace", "ram=1M,nsid=0", ...HERE], 2, 'Cannot use "0" for nsid'],
  [[...RAM, "--namespace", "ram=1M,colour=red", ...HERE], 2, 'it has no option "colour=red"'],
  [["--namespace", "ram=1M,nsid=2", "--namespace", "ram=1M,nsid=2", ...HERE], 2, "Cannot serve two namespaces 2"],
  [[...RAM, "--uuid", "12", ...HERE], 2, 'Cannot use "12" for a UUID: it is not one'],
  [[...RAM, "--nqn", "n".repeat(224), "--listen", "127.0.0.1"], 2, "it is longer than 223 bytes"],
  [[...RAM, "--nqn", NQN, "--listen", "192.0.2.77"], 6, 'on "192.0.2.77:4420": no such address on this host'],
  [[...RAM, "--nqn", NQN, "--listen", "host.example"], 2, 'the address "host.example" is a name, not an address'],
  [[...RAM, "--nqn", NQN, "--listen", "127.0.0.1:70000"], 2, "70000"],
  [[...RAM, "--nqn", NQN, "--listen", "127.0.0.1,ana=optimised"], 2, "Did you mean optimized?"],
  [[...RAM, "--nqn", NQN, "--listen", "127.0.0.1", "--listen", "127.0.0.1:4420"], 2, "it is given twice"],
  [[...RAM, "--allow-host", "", ...HERE], 2, 'Cannot use "" for --allow-host: it is empty'],
  [[...RAM, "--in-capsule", "17", ...HERE], 2, "it is no multiple of 16 up to 64K"],
  [[...RAM, "--queues", "0", ...HERE], 2, 'Cannot use "0" for --queues: it is not a number from 1 to'],
  [[...RAM, "--depth", "1", ...HERE], 2, 'Cannot use "1" for --depth: it is not a number from 2 to'],
  [[...RAM, "--serial", "ä", ...HERE], 2, "it is not 1 to 20 printable ASCII characters"],
  [[...RAM, "--listne", "127.0.0.1", ...HERE], 2, 'Cannot use option "--listne": umpath serve has no such option'],
  [["--ram"], 2, 'Cannot use option "--ram": its value is missing'],
  [["a", "b", ...HERE], 2, 'Cannot run umpath serve with "b": it takes one <file>'],
  [[...RAM, "--fault", "1:boom", ...HERE], 2, '"boom" is not a kind of fault'],
  [[...RAM, "--fault", "2:stall", ...HERE], 2, 'the target has no listener "2"'],
  [[...RAM, "--fault-script", "FOLDER/none", ...HERE], 3, 'the faults in "FOLDER/none": there is no such file'],
];

Deno.test("umpath serve says what is wrong with its words, for which of them, and leaves nothing behind", async () => {
  await using cli = new Cli();
  Deno.writeTextFileSync(`${cli.folder}/empty`, "");
  Deno.writeTextFileSync(`${cli.folder}/tiny`, "x");
  Deno.writeTextFileSync(`${cli.folder}/odd`, "x".repeat(10_000));
  const inFolder = (word: string) => word.replaceAll("FOLDER", cli.folder);
  for (const [words, code, said] of BAD_WORDS) {
    const result = await cli.run("serve", ...words.map(inFolder));
    assertEquals([result.code, result.stdout], [code, ""], `${words.join(" ")}\n${result.stderr}`);
    assertStringIncludes(result.stderr, inFolder(said));
    assert(!/\n\s+at |undefined|NaN|os error|[Rr]emove /.test(result.stderr), result.stderr);
    assertEquals(result.stderr.split("\n")[0]!.slice(0, 8), "umpath: ", "nothing is said to be served before that");
  }
  assertEquals([...Deno.readDirSync(cli.folder)].map(({ name }) => name).sort(), ["empty", "odd", "run", "tiny"]);
  assertEquals([...Deno.readDirSync(cli.runDir)], []);
  const { stderr } = await cli.run("--json", "serve", ...HERE);
  assertEquals(JSON.parse(stderr).error.code, "usage");
});

Deno.test("umpath serve says that a port is taken, and takes none then", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, portals: 1 });
  const { hostname, words } = target.portals[0]!;
  const free = `${hostname}:4430`;
  const taken = await cli.run("serve", ...RAM, "--nqn", `${NQN}2`, "--listen", free, "--listen", words);
  assertEquals([taken.code, taken.stdout], [7, ""]);
  assertStringIncludes(taken.stderr, `Cannot listen on "${words}": address already in use`);
  Deno.listen({ hostname, port: 4430 }).close();
});

Deno.test("umpath serve tells of a UMPATH_LOG that names no level", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, portals: 1, launcher: ["env", "UMPATH_LOG=bogus"] });
  assertStringIncludes(await target.end(), 'UMPATH_LOG="bogus" is no level (error, warn, info, debug): info is used');
});

const BAD_TARGET_WORDS: readonly [words: string[], code: number, said: string][] = [
  [[], 2, "Cannot run umpath target: no command is given"],
  [["sing"], 2, 'Cannot run umpath target "sing": umpath target has no such command'],
  [["show", "--pid", "4194304"], 3, "No target of process 4194304 is running on this host"],
  [["stop", "--nqn", `${NQN}x`], 3, `No target of "${NQN}x" is running on this host`],
  [["ana", "PORTAL", "slow"], 2, 'Cannot use "slow" for the ANA state: it is not one of optimized,'],
  [["ana", "PORTAL"], 2, "Cannot run umpath target ana: <state> is missing"],
  [["ana", "127.0.0.1:1", "optimized"], 3, 'No listener "127.0.0.1:1" is there'],
  [["ana", "127.0.0.1:0", "optimized"], 2, "none has port 0"],
  [["resize", "9", "1M"], 3, "There is no namespace 9"],
  [["resize", "1", "0"], 2, "Cannot make namespace 1 0 B large: a namespace has at least one block"],
  [["resize", "1", "5001"], 2, "5001 bytes are no whole number of blocks of 4096"],
  [["resize", "1", "512K"], 2, "Cannot shrink namespace 1 from 1 MiB to 512 KiB: its last 512 KiB would be lost"],
  [["resize", "1", "1T"], 2, "it is in memory"],
  [
    ["listener", "move", "PORTAL"],
    2,
    'Cannot run umpath target listener "move": umpath target listener has no such command',
  ],
  [["listener", "add", "PORTAL"], 7, 'Cannot listen on "PORTAL": this target listens there already'],
  [["listener", "add", "192.0.2.77"], 6, "no such address on this host"],
  [["fault", "3:stall"], 2, 'the target has no listener "3"'],
  [["fault", "1:drop", "clear"], 2, '"clear" is not a kind of fault'],
  [["fault", "--fault-seed", "1"], 2, "Cannot use --fault-seed: no fault is given"],
];

Deno.test("umpath target says what is wrong with its words, and changes nothing then", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: RAM });
  const portal = target.portals[0]!.words;
  const shown = (await target.target("show")).stdout;
  for (const [words, code, said] of BAD_TARGET_WORDS) {
    const result = await target.target(...words.map((word) => word.replace("PORTAL", portal)));
    assertEquals([result.code, result.stdout], [code, ""], `${words.join(" ")}\n${result.stderr}`);
    assertStringIncludes(result.stderr, said.replace("PORTAL", portal));
  }
  assertEquals((await target.target("show")).stdout, shown);
  assertEquals(JSON.parse((await target.target("fault", "--json")).stdout).faults, []);
});

Deno.test("umpath serve --help and umpath target --help tell every default once, and every verb", async () => {
  await using cli = new Cli();
  const serve = (await cli.run("serve", "--help")).stdout;
  assert(!/\(default:[^)]*\)\s*\(default:/.test(serve), serve);
  assertMatch(serve, /--in-capsule <size> .*\(default: 16K\)/);
  const target = (await cli.run("target", "--help")).stdout;
  for (const name of ["list", "show", "ana", "resize", "listener", "fault", "stop"]) {
    assertMatch(target, new RegExp(`^  ${name} `, "m"));
    assertEquals((await cli.run("target", name, "--help")).code, 0);
  }
});
