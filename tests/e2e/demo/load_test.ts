import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { setLogSink } from "../../../src/base/log.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { Untrue } from "../../../src/demo/claims.ts";
import { FileLoad } from "../../../src/demo/file_load.ts";
import { failureWords, LOAD_UNIT_BYTES } from "../../../src/demo/load.ts";
import { Interrupted, Stage } from "../../../src/demo/stage.ts";
import { VolumeLoad } from "../../../src/demo/volume_load.ts";
import { VolumeSet } from "../../../src/host/daemon/volume_set.ts";
import { WorkerPool } from "../../../src/host/driver/worker_pool.ts";
import { FakeTarget } from "../host/fake_target.ts";
import { attachParams, eventually } from "../host/host_fixture.ts";

const UNITS = 128;
/** A folder whose file system takes direct I/O: that of the checkout, not one in memory. */
const FOLDER = new URL("../../../build", import.meta.url).pathname;

/** A load on a file of its own. */
async function withFileLoad(body: (load: FileLoad, path: string, stage: Stage) => Promise<void>): Promise<void> {
  Deno.mkdirSync(FOLDER, { recursive: true });
  const folder = Deno.makeTempDirSync({ dir: FOLDER });
  const file = await FileLoad.start({ units: UNITS, seed: 3 });
  try {
    file.open(`${folder}/file`, { make: true });
    await body(file, `${folder}/file`, new Stage({}));
  } finally {
    await file.load.quiesce(5_000);
    file.close();
    file.end();
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("FileLoad fills a file, reads and writes it at random, and finds all of it in it again", async () => {
  await withFileLoad(async (file, path, stage) => {
    await file.load.fill(stage);
    assertEquals(Deno.statSync(path).size, UNITS * LOAD_UNIT_BYTES);
    file.load.enterWindow(1);
    file.load.start();
    await stage.pause(200);
    file.load.check();
    await file.load.stop(stage);
    const counts = file.load.counts(1);
    assert(counts.reads > 10 && counts.writes > 10, JSON.stringify(counts));
    assert(counts.longestReadMs > 0 && counts.longestWriteMs > 0 && counts.longestPauseMs > 0, JSON.stringify(counts));
    assert(counts.longestPauseMs < 2_000, JSON.stringify(counts));
    file.close();
    file.open(path, { make: false });
    await file.load.verify(stage);
    assertEquals(file.load.total.reads, counts.reads + UNITS);
  });
});

Deno.test("FileLoad finds a byte that somebody else has changed", async () => {
  await withFileLoad(async (file, path, stage) => {
    await file.load.fill(stage);
    file.close();
    const disk = Deno.openSync(path, { write: true });
    disk.seekSync(7 * LOAD_UNIT_BYTES + 8, Deno.SeekMode.Start);
    disk.writeSync(new Uint8Array([1, 2, 3]));
    disk.close();
    file.open(path, { make: false });
    const error = await assertRejects(() => file.load.verify(stage), Untrue);
    assertStringIncludes(error.message, `byte 8 and on of the 4096 bytes at ${7 * LOAD_UNIT_BYTES}`);
  });
});

Deno.test("FileLoad says that a file which became shorter cannot be read", async () => {
  await withFileLoad(async (file, path, stage) => {
    await file.load.fill(stage);
    Deno.truncateSync(path, LOAD_UNIT_BYTES * 100);
    const error = await assertRejects(() => file.load.verify(stage), Untrue);
    assertStringIncludes(error.message, "A read of the 4096 bytes at 4");
    assertStringIncludes(error.message, "input/output error");
  });
});

Deno.test("FileLoad refuses a file that is not there, and one that is there already", async () => {
  await withFileLoad((file, path) => {
    assertThrows(() => file.open(`${path}.not`, { make: false }), UmpathError, ".not");
    assertThrows(() => file.open(path, { make: true }), UmpathError, path);
    return Promise.resolve();
  });
});

Deno.test("Load ends its wait at once when the demo is interrupted, and then what is in flight", async () => {
  await withFileLoad(async (file, _path, stage) => {
    await file.load.fill(stage);
    file.load.start();
    setTimeout(() => stage.interrupt("SIGINT"), 50);
    await assertRejects(() => stage.pause(10_000), Interrupted);
    await assertRejects(() => file.load.stop(stage), Interrupted);
    assertEquals(await file.load.quiesce(5_000), true);
  });
});

Deno.test("VolumeLoad loses nothing while one of two paths is lost and comes back", async () => {
  await using target = FakeTarget.start({ portals: 2, blocks: 8 * UNITS });
  setLogSink(() => {});
  const failures: string[] = [];
  const set = new VolumeSet(new WorkerPool(1, (reason) => failures.push(reason)));
  try {
    const stage = new Stage({});
    await set.attach(attachParams(target.portals, { timeouts: { writeHoldMs: 300 }, depth: 32 }), () => {});
    const volume = set.find("vol-n1");
    const { load } = new VolumeLoad(volume, { units: UNITS, seed: 5, failureOf: () => failures[0] ?? null });
    await load.fill(stage);
    load.enterWindow(1);
    load.start();
    await stage.pause(100);
    await target.portals[1].stop();
    load.enterWindow(2);
    await eventually("the path is lost", () => volume.info().paths[1]!.state === "reconnecting");
    await stage.pause(500);
    target.portals[1].start();
    load.enterWindow(3);
    await eventually("the path is back", () => volume.info().paths[1]!.state === "live");
    await stage.pause(100);
    await load.stop(stage);
    const during = load.counts(2);
    assert(during.reads > 0 && during.writes > 0, JSON.stringify(during));
    await load.verify(stage);
    const { paths } = volume.info();
    const moved = paths.reduce((sum, path) => sum + path.readBytes + path.writeBytes, 0);
    // Each request was answered once; one that was moved may have been carried out twice.
    assert(moved >= load.total.bytes, `${moved} < ${load.total.bytes}`);
  } finally {
    await set.close();
    setLogSink(null);
  }
  assertEquals(failures, []);
});

Deno.test("VolumeLoad finds what the storage has changed", async () => {
  await using target = FakeTarget.start({ portals: 1, blocks: 8 * UNITS });
  setLogSink(() => {});
  const set = new VolumeSet(new WorkerPool(1, () => {}));
  try {
    await set.attach(attachParams(target.portals, { depth: 32 }), () => {});
    const { load } = new VolumeLoad(set.find("vol-n1"), { units: UNITS, seed: 5, failureOf: () => null });
    const stage = new Stage({});
    await load.fill(stage);
    target.memory[70 * LOAD_UNIT_BYTES] ^= 1;
    const error = await assertRejects(() => load.verify(stage), Untrue);
    assertStringIncludes(error.message, `byte 0 and on of the 4096 bytes at ${70 * LOAD_UNIT_BYTES}`);
  } finally {
    await set.close();
    setLogSink(null);
  }
});

Deno.test("failureWords() tells of reads and writes, errors and wrong data", () => {
  const failure = { kind: "error", isWrite: true, unit: 2, errno: 5, offset: 0 } as const;
  assertEquals(failureWords(failure), "A write of the 4096 bytes at 8192 failed: input/output error");
  assertEquals(
    failureWords({ ...failure, kind: "wrong-data", offset: 12 }),
    "Data is wrong: byte 12 and on of the 4096 bytes at 8192 are not what was written there last",
  );
});
