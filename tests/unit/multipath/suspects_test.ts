/** Commands that end every connection that they are sent on, beside others that do nothing. */
import { assert, assertEquals } from "@std/assert";
import { EIO, ETIMEDOUT } from "../../../src/base/errno.ts";
import { LOSSES_MAX } from "../../../src/base/limits.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { Rig } from "./rig.ts";

const DEPTH = 16;
const POISON_LBA = 1_000;
const RECONNECT_MS = 1_000;
const RUN_MS_MAX = 300_000;
const STEP_MS = 100;

interface Run {
  /** Connections that the poison of each slot was on when they ended. */
  ended: Map<number, number>;
  /** Answers to everything else. */
  errnos: number[];
  /** What the poisoned requests were answered with, by slot. */
  outcome: Map<number, number>;
  /** The longest that another request waited for its answer. */
  longestMs: number;
}

/** Runs requests in all slots, those of `poisoned` with a command that ends its connection before others are answered. */
function run(rig: Rig, poisoned: readonly number[], op: number = BlockOp.READ): Run {
  const result: Run = { ended: new Map(), errnos: [], outcome: new Map(), longestMs: 0 };
  const backAtMs = rig.paths.map(() => Infinity);
  const submittedMs = new Array(DEPTH).fill(rig.nowMs);
  const submit = (slot: number) => {
    submittedMs[slot] = rig.nowMs;
    const isPoisoned = poisoned.includes(slot);
    rig.submit(slot, isPoisoned ? op : BlockOp.READ, isPoisoned ? POISON_LBA + slot : slot, 1);
  };
  for (let slot = 0; slot < DEPTH; slot++) submit(slot);
  for (const endMs = rig.nowMs + RUN_MS_MAX; result.outcome.size < poisoned.length; rig.advance(STEP_MS)) {
    assert(rig.nowMs < endMs, "It ends");
    rig.pump();
    for (let path = 0; path < 2; path++) {
      if (rig.nowMs >= backAtMs[path]) {
        backAtMs[path] = Infinity;
        rig.addPath(path);
      }
      if (rig.paths[path] === null) continue;
      const poison = rig.commands(path).filter(({ lba }) => lba >= POISON_LBA);
      for (const { lba } of poison) {
        result.ended.set(lba - POISON_LBA, (result.ended.get(lba - POISON_LBA) ?? 0) + 1);
      }
      if (poison.length > 0) {
        rig.losePath(path);
        backAtMs[path] = rig.nowMs + RECONNECT_MS;
      } else for (const command of rig.commands(path)) rig.answer(path, command);
    }
    rig.volume.dispatch(rig.nowMs);
    for (const [slot, errno] of rig.answers()) {
      if (poisoned.includes(slot)) result.outcome.set(slot, errno);
      else {
        result.errnos.push(errno);
        result.longestMs = Math.max(result.longestMs, rig.nowMs - submittedMs[slot]);
        submit(slot);
      }
    }
  }
  return result;
}

function makeRig(): Rig {
  return new Rig({
    depth: DEPTH,
    connectionDepth: DEPTH,
    writeHoldMs: 1_000,
    inCapsuleBytes: 4096,
    manners: { answers: false },
  });
}

/** All that is in flight after a run is answered, and nothing is left. */
function finish(rig: Rig): void {
  for (let path = 0; path < 2; path++) if (rig.paths[path] === null) rig.addPath(path);
  for (let turns = 0; turns < 100; turns++) {
    rig.advance(STEP_MS);
    for (let path = 0; path < 2; path++) for (const command of rig.commands(path)) rig.answer(path, command);
  }
  assert(rig.answers().every(([, errno]) => errno === 0));
  rig.checkIdle();
}

for (const op of [BlockOp.READ, BlockOp.WRITE]) {
  const name = op === BlockOp.READ ? "read" : "write";

  Deno.test(`MultipathQueue gives up with EIO on a ${name} that ends each connection it is sent on, and on no other`, () => {
    const rig = makeRig();
    const { ended, errnos, outcome, longestMs } = run(rig, [5], op);
    assertEquals([...outcome], [[5, EIO]]);
    assertEquals(ended.get(5), LOSSES_MAX + 1);
    assertEquals(errnos.filter((errno) => errno !== 0), []);
    // They are lost with it a few times; then it is sent without them, less and less often.
    assert(errnos.length > 100 && longestMs <= 5 * RECONNECT_MS, `${errnos.length} answers, ${longestMs} ms`);
    finish(rig);
  });
}

Deno.test("MultipathQueue finds every request that ends its connections, and answers all others", () => {
  const rig = makeRig();
  const { ended, errnos, outcome } = run(rig, [1, 6, 7, 15]);
  assertEquals([...outcome].sort(([a], [b]) => a - b), [1, 6, 7, 15].map((slot) => [slot, EIO]));
  for (const times of ended.values()) assertEquals(times, LOSSES_MAX + 1);
  assertEquals(errnos.filter((errno) => errno !== 0), []);
  finish(rig);
});

Deno.test("MultipathQueue gives up with ETIMEDOUT on a request that no connection ever answers", () => {
  const rig = new Rig({ paths: 1, ioTimeoutMs: 1_000, noPathTimeoutMs: -1, manners: { answers: false } });
  rig.submit(0, BlockOp.READ, 0, 1);
  let connections = 1;
  while (rig.volume.isBusy) {
    rig.advance(STEP_MS);
    if (rig.paths[0]!.connection.state !== "failed") continue;
    rig.losePath(0);
    if (!rig.volume.isBusy) break;
    rig.addPath(0);
    assert(++connections < 100, "It ends");
  }
  assertEquals([rig.answers(), connections], [[[0, ETIMEDOUT]], LOSSES_MAX + 1]);
  rig.checkIdle();
});

Deno.test("MultipathQueue sends a request again at once whose connection has ended a few times, and later after more", () => {
  const rig = new Rig({ paths: 2, manners: { answers: false } });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  for (const delayMs of [0, 0, 0, 100, 200, 400]) {
    const path = rig.commands(0).length > 0 ? 0 : 1;
    rig.losePath(path);
    rig.addPath(path);
    const sent = () => rig.commands(0).length + rig.commands(1).length;
    for (let ms = 0; ms < delayMs; ms += STEP_MS) {
      assertEquals([sent(), rig.waiting], [0, 1], `${delayMs} ms`);
      rig.advance(STEP_MS);
    }
    assertEquals([sent(), rig.waiting], [1, 0], `${delayMs} ms`);
  }
});
