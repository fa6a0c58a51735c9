import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { runDemo } from "../../../src/demo/demo.ts";
import type { DemoReport } from "../../../src/demo/report.ts";
import { Interrupted, type Stage } from "../../../src/demo/stage.ts";
import type { Deed, Storage } from "../../../src/demo/storage.ts";
import { FakeTarget, NQN } from "../host/fake_target.ts";
import { eventually } from "../host/host_fixture.ts";
import { Stopwatch } from "../stopwatch.ts";

const BLOCKS = 4 << 11;
const BLOCK_BYTES = 512;
/** The target of the tests is slow. */
const LOAD_BYTES = 2 << 20;

/** The tests' own target as a storage system of the demo. */
class FakeStorage implements Storage {
  readonly nqn = NQN;
  readonly uuid = null;
  readonly sizeBytes = BLOCKS * BLOCK_BYTES;
  readonly portals;
  /** What happens besides when a portal is lost. */
  onLose: () => void = () => {};

  constructor(readonly target: FakeTarget) {
    this.portals = target.portals.map((portal) => ({ addr: portal.spec.traddr, port: portal.spec.trsvcid }));
  }

  async lose(index: number): Promise<Deed> {
    this.onLose();
    await this.target.portals[index]!.stop();
    return { command: null, words: "a portal is gone" };
  }

  restore(index: number): Promise<Deed> {
    this.target.portals[index]!.start();
    return Promise.resolve({ command: null, words: "it is back" });
  }

  close(): Promise<void> {
    return this.target[Symbol.asyncDispose]();
  }

  log(): string[] {
    return ["the log of the fake target"];
  }
}

/** What a demo said and did. */
interface Played {
  lines: string[];
  remarks: string[];
  warnings: string[];
  storage: FakeStorage;
}

/** Plays the demo in user space on the tests' own target. `prepare` gets the stage before the road begins. */
async function play(
  played: Played,
  prepare: (stage: Stage, storage: FakeStorage) => void = () => {},
): Promise<DemoReport> {
  return await runDemo({
    device: "none",
    program: ["false"],
    print: (line) => played.lines.push(line),
    remark: (line) => played.remarks.push(line),
    warn: (message) => played.warnings.push(message),
    colours: false,
    loadBytes: LOAD_BYTES,
    describe: (volume) => `${volume.name} is ${volume.state}`,
    storage: (stage) => {
      played.storage = new FakeStorage(FakeTarget.start({ blocks: BLOCKS }));
      stage.owe("the fake target", () => played.storage.close());
      prepare(stage, played.storage);
      return Promise.resolve(played.storage);
    },
  });
}

function nothing(): Played {
  return { lines: [], remarks: [], warnings: [], storage: null as unknown as FakeStorage };
}

/** What demos leave, they leave here: other demos may run on this host. */
const FOLDER = Deno.makeTempDirSync({ prefix: "umpath-demo-test-" });
Deno.test.beforeAll(() => Deno.env.set("TMPDIR", FOLDER));
Deno.test.afterAll(() => {
  Deno.env.delete("TMPDIR");
  Deno.removeSync(FOLDER);
});

function folders(): string[] {
  return [...Deno.readDirSync(FOLDER)].map(({ name }) => name);
}

/** Plays it to its bad end; the error. */
async function playBadly(played: Played, prepare: (stage: Stage, storage: FakeStorage) => void): Promise<Error> {
  const error = await assertRejects(() => play(played, prepare), Error);
  assertEquals(played.warnings, []);
  assert(played.remarks.includes("Nothing is left behind"), played.remarks.join("\n"));
  assertEquals(folders(), []);
  await eventually("no connection is left", () => played.storage.target.connections === 0);
  return error;
}

Deno.test("runDemo() tells every step of the road in user space, and its figures are of one piece", async () => {
  const played = nothing();
  const report = await play(played);
  const text = played.lines.join("\n");
  assertEquals(report.steps.map(({ step }) => step), [400, 402, 404, 406, 408, 410, 412]);
  for (const { name, facts } of report.steps) assertStringIncludes(text, `${name.padEnd(17)}  ${facts.slice(0, 20)}`);
  assertEquals([report.driver, report.device, report.fileSystem], ["none", null, null]);
  assertEquals(report.noFileSystem, "there is no kernel device");
  const { before: both, during: one, after: again } = report.load;
  for (const { reads, writes, longestReadMs, longestWriteMs } of [both, one, again]) {
    assert(reads > 0 && writes > 0 && longestReadMs > 0 && longestWriteMs > 0, JSON.stringify(report.load));
  }
  assertEquals(report.loss.path, 1);
  assertEquals(report.paths.map(({ reconnects }) => reconnects), [0, 1]);
  assertEquals(report.paths[1]!.failovers, report.loss.moved);
  assert(report.loss.awayMs > 5_000, "held writes are outlasted");
  if (report.loss.held > 0) assert(one.longestWriteMs > 4_500, JSON.stringify(one));
  assertEquals(report.verifiedBytes, LOAD_BYTES);
  assert(report.claimsChecked > 10, `${report.claimsChecked}`);
  assert(played.lines.every((line) => line.length <= 100), text);
  assertEquals([played.remarks, played.warnings], [[], []]);
  assertEquals(folders(), []);
  assertEquals(played.storage.target.connections, 0);
});

Deno.test("runDemo() fails with words, and takes all back, if the storage changes data behind its back", async () => {
  const played = nothing();
  const error = await playBadly(played, (_stage, storage) => {
    storage.onLose = () => {
      for (let unit = 0; unit < 64; unit++) storage.target.memory[unit * 4096] ^= 1;
    };
  });
  assertEquals((error as UmpathError).code, "bug");
  assertStringIncludes(
    error.message,
    "The demo's claim does not hold: data is wrong: byte 0 and on of the 4096 bytes at",
  );
  assertStringIncludes(played.remarks.join("\n"), "the log of the fake target");
  assertStringIncludes(played.lines.join("\n"), "Not as it should be: Data is wrong");
});

Deno.test("runDemo() fails if a portal does not go when it is said to be gone", async () => {
  const played = nothing();
  const error = await playBadly(played, (stage, storage) => {
    storage.lose = () => {
      setTimeout(() => stage.fail(new UmpathError("timed-out", "The test waits no longer")), 300);
      return Promise.resolve({ command: null, words: "nothing happens" });
    };
  });
  assertEquals(error.message, "The test waits no longer");
  assert(!played.lines.some((line) => line.includes("Path 1 is lost")), played.lines.join("\n"));
});

Deno.test("runDemo() refuses a storage system whose paths lead to other sizes than told", async () => {
  const played = nothing();
  const error = await playBadly(played, (_stage, storage) => {
    Object.defineProperty(storage, "sizeBytes", { value: 12345 });
  });
  assertStringIncludes(error.message, `the volume has ${BLOCKS * BLOCK_BYTES} bytes`);
});

Deno.test("runDemo() takes everything back at whatever moment it is interrupted", async () => {
  const moments: ((stage: Stage, storage: FakeStorage) => void)[] = [
    (stage) => stage.interrupt("SIGINT"),
    (stage) => setTimeout(() => stage.interrupt("SIGINT"), 1),
    (stage) => setTimeout(() => stage.interrupt("SIGINT"), 60),
    (stage) => setTimeout(() => stage.interrupt("SIGTERM"), 300),
    (stage) => setTimeout(() => stage.interrupt("SIGTERM"), 1_500),
    (stage, storage) => storage.onLose = () => stage.interrupt("SIGHUP"),
    (stage, storage) => storage.onLose = () => setTimeout(() => stage.interrupt("SIGINT"), 700),
  ];
  for (const [i, prepare] of moments.entries()) {
    const took = new Stopwatch();
    const error = await playBadly(nothing(), prepare);
    assert(error instanceof Interrupted, `moment ${i}: ${error.stack}`);
    took.assertWithin(15_000);
  }
});
