/** Commands that no host should send to a controller or a queue, and answers that no controller should give to a host. */
import { assert, assertEquals } from "@std/assert";
import type { Prng } from "../../../src/base/prng.ts";
import { bringUp } from "../../../src/nvme_host/bring_up.ts";
import { discover } from "../../../src/nvme_host/discovery.ts";
import { listNamespaces } from "../../../src/nvme_host/list_namespaces.ts";
import { reset, shutdown } from "../../../src/nvme_host/retire.ts";
import { AdminError, type AdminStep, type CommandAnswer, type StepResult } from "../../../src/nvme_host/steps.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { activeListData, answer, FakeController, get, identifyControllerData } from "../nvme_host/fake_controller.ts";
import { discoveryLogData } from "../nvme_host/discovery_log_data.ts";
import {
  AdminTarget,
  CC_DISABLE,
  CC_ENABLE,
  connectWords,
  DISCOVERY,
  HOST_NQN,
  sqe,
  textAt,
  type Words,
} from "../nvme_target/admin_fixture.ts";
import {
  type Command,
  compare,
  flush,
  makeRig,
  manage,
  moreOffset,
  read,
  write,
  writeZeroes,
} from "../nvme_target/io_rig.ts";
import { fuzz, outcomeOf, Tally } from "./harness.ts";
import { mutate, mutateInPlace, pick } from "./mutator.ts";

// ── the host: answers to its sequences ──────────────────────────────────────────────────────────────────────────────

const HOST = {
  subsystemNqn: "nqn.2014-08.org.example:vol",
  hostNqn: "nqn.2014-08.org.example:host",
  hostId: new Uint8Array(16).fill(0x22),
  keepAliveMs: 5000,
};
/** Far above what any sequence asks for, with 4096 entries of a discovery log. */
const STEPS_MAX = 40_000;
const LOG = discoveryLogData([{}, { traddr: "fe80::1%eth0", adrfam: 2, subtype: 1 }, { subtype: 3 }]);

/** Runs a sequence, some answers of which are garbled. */
function runGarbled<T>(prng: Prng, steps: Generator<AdminStep, T, StepResult>, fake: FakeController): T {
  const often = pick(prng, [2, 8, 30, 2000]);
  let taken = 0;
  return fake.run(function* (): Generator<AdminStep, T, StepResult> {
    let turn = steps.next();
    while (!turn.done) {
      assert(++taken < STEPS_MAX, "A sequence ends");
      const result = yield turn.value;
      turn = steps.next(prng.below(often) > 0 ? result : garbledAnswer(prng, result));
    }
    return turn.value;
  }());
}

function garbledAnswer(prng: Prng, result: StepResult): StepResult {
  if (result === null) return null;
  const word = (valid: number) => pick(prng, [valid, valid, valid ^ (1 << prng.below(32)), prng.uint32(), 0]) >>> 0;
  const { status, result0, result1, data } = result;
  const garbled: CommandAnswer = {
    status: prng.below(4) === 0 ? prng.below(0x8000) : status,
    result0: word(result0),
    result1: word(result1),
    // What is more than was asked for, the connection does not take.
    data: data === null || prng.below(3) === 0 ? data : mutate(prng, data).subarray(0, data.length),
  };
  return garbled;
}

function discoveryController(): FakeController {
  const data = identifyControllerData();
  data[111] = 2;
  return new FakeController({
    "identify 1": answer({ data }),
    "log 70": (entry) => {
      const bytes = 4 * (1 + get(entry, 42, 2) + get(entry, 44, 2) * 65536), from = get(entry, 48, 8);
      const part = new Uint8Array(bytes);
      part.set(LOG.subarray(from, from + bytes));
      return answer({ data: part });
    },
  });
}

/** Some never say that they are done. */
function leavingController(prng: Prng): FakeController {
  return prng.below(8) > 0 ? new FakeController() : new FakeController({ "get 1c": answer({ result0: 1 }) });
}

const SEQUENCES: Record<string, (prng: Prng) => unknown> = {
  "bringUp()": (prng) => {
    const options = { ...HOST, nsid: pick(prng, [1, 2, 5]), wantedQueues: 2, wantedQueueDepth: 128 };
    const { queues, queueDepth, inCapsuleBytes, limits } = runGarbled(prng, bringUp(options), new FakeController());
    assert(queues >= 1 && queues <= 2 && queueDepth >= 1 && queueDepth <= 128 && inCapsuleBytes >= 0);
    assert(limits.blocks >= 1 && limits.maxTransferBytes >= limits.blockSize);
  },
  "listNamespaces()": (prng) => {
    // A full list, after which more is asked for, and which begins anew.
    const full = Array.from({ length: 1024 }, (_, i) => i + 1);
    const fake = prng.below(4) > 0
      ? new FakeController()
      : new FakeController({ "identify 2": answer({ data: activeListData(full) }) });
    const nsids = runGarbled(prng, listNamespaces(HOST), fake);
    assert(nsids.every((nsid, i) => nsid > (nsids[i - 1] ?? 0)));
  },
  "discover()": (prng) => {
    const log = runGarbled(prng, discover({ ...HOST, chunkBytesMax: 4096 }), discoveryController());
    assert(log.entries.length <= 4096);
    for (const { subsystemNqn, traddr } of log.entries) assert(!/\p{C}/u.test(subsystemNqn + traddr));
  },
  "reset()": (prng) => runGarbled(prng, reset(1000), leavingController(prng)),
  "shutdown()": (prng) => runGarbled(prng, shutdown(1000), leavingController(prng)),
};

for (const [name, run] of Object.entries(SEQUENCES)) {
  const tally = new Tally();
  fuzz(`${name} ends with a result or a reason, whatever is answered`, 400, (prng) => {
    const outcome = outcomeOf(() => run(prng), [AdminError]);
    tally.note("value" in outcome);
    if ("error" in outcome) {
      assert(/^\w.*[^.]$/s.test(outcome.error) && !/\p{Cc}/u.test(outcome.error), outcome.error);
    }
  }, tally.atEnd(200));
}

// ── the target: commands to its controllers ─────────────────────────────────────────────────────────────────────────

const NQN = "nqn.2014-08.org.example:target";
const IDENTIFY_CNS = [0, 1, 2, 3, 5, 6, 8, 0x1c];
/** That may wait at once: AERL + 1. */
const EVENT_REQUESTS = 4;
const LOGS = [0, 1, 2, 3, 4, 5, 0x0c, 0x12, 0x70];

/** A command as a host might send it; `parked` are the CIDs of event requests that wait. */
function adminWords(prng: Prng, parked: readonly number[]): Words {
  const bytes = pick(prng, [4, 512, 4096, 8192]);
  switch (prng.below(8)) {
    case 0:
    case 1:
      return { opc: 0x06, nsid: pick(prng, [0, 1, 2, 0xffffffff]), cdw10: pick(prng, IDENTIFY_CNS), sglBytes: 4096 };
    case 2:
    case 3:
      return {
        opc: 0x02,
        cdw10: pick(prng, LOGS) | ((bytes / 4 - 1) << 16),
        sglBytes: bytes,
        cdw12: prng.below(64) * 4,
      };
    case 4:
      return {
        opc: 0x09,
        cdw10: pick(prng, [prng.below(0x19), 0x0b]),
        cdw11: pick(prng, [prng.below(1 << 16), 0x900]),
      };
    case 5:
      return { opc: 0x0a, cdw10: prng.below(0x19) | (prng.below(4) << 8), sglBytes: 4096 };
    case 6:
      return { opc: pick(prng, [0x0c, 0x0c, 0x08, 0x18]), cdw10: pick(prng, [...parked, prng.below(64)]) << 16 };
    default:
      return { opc: 0x7f, nsid: pick(prng, [0, 4, 8]), cdw11: pick(prng, [0, 8, 0x14, 0x1c]), cdw12: CC_ENABLE };
  }
}

function garbledEntry(prng: Prng, entry: Uint32Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(mutateInPlace(prng, new Uint8Array(entry.buffer)).buffer);
}

const answers = new Tally();

fuzz("Controller answers any command once, with no more data than it was asked for", 300, (prng) => {
  const target = new AdminTarget();
  const isDiscovery = prng.below(3) === 0;
  const host = isDiscovery ? target.discoveryHost() : target.host({}, prng.below(2));
  const { controller } = host;
  const parked = new Set<number>();
  for (let i = 0; i < 60; i++) {
    const valid = sqe({ cid: i, ...adminWords(prng, [...parked]) }) as Uint32Array<ArrayBuffer>;
    const entry = prng.below(3) === 0 ? valid : garbledEntry(prng, valid);
    const before = entry.slice();
    const needed = controller.dataNeeded(entry);
    assert(needed >= 0 && needed <= 4096 && (needed === 0 || (entry[0] & 3) === 1));
    const data = needed === 0 ? null : new Uint8Array(needed).map(() => prng.below(256));
    const result = controller.handleCommand(entry, data, target.nowMs);
    assertEquals(entry, before);
    if (result === null) {
      controller.park(i);
      parked.add(i);
    } else {
      answers.note(result.status === 0);
      assert(result.status >= 0 && result.status < 0x8000);
      assert(result.data === null || (result.data.length <= entry[8] && (entry[0] & 3) === 2));
    }
    if (prng.below(8) === 0) changeSomething(prng, target);
    for (let event = controller.pollEvent(); event !== null; event = controller.pollEvent()) {
      assert(parked.delete(event.slot), `the request in slot ${event.slot} is answered once`);
    }
    if (controller.pollTask() !== null) controller.handleIoQueuesClosed();
  }
  assert(parked.size <= EVENT_REQUESTS);
  // It is as good as new after a reset, unless it has failed for good.
  if (controller.stateName === "fatal") return;
  host.setCc(CC_DISABLE);
  for (let event = controller.pollEvent(); event !== null; event = controller.pollEvent()) parked.delete(event.slot);
  assertEquals(parked.size, 0, "A reset ends the requests that wait");
  host.setCc(CC_ENABLE);
  if (controller.stateName === "ready") assertEquals(host.identified(1).length, 4096);
}, answers.atEnd());

function changeSomething(prng: Prng, { subsystem }: AdminTarget): void {
  switch (prng.below(4)) {
    case 0:
      return subsystem.setAna(prng.below(2), pick(prng, [1, 2, 3, 15]), 0);
    case 1:
      return subsystem.resize(1, 1 + prng.below(5000));
    case 2:
      return subsystem.setReadOnly(1, prng.below(2) === 0);
    default:
      subsystem.addListener({ index: 2, traddr: "10.0.0.3", trsvcid: 4420 });
      return subsystem.removeListener(2);
  }
}

const connects = new Tally();

fuzz("Subsystem takes or refuses any Connect, and knows no more controllers than it has taken", 300, (prng) => {
  const target = new AdminTarget();
  const taken = new Set<unknown>();
  const first = target.host();
  taken.add(first.controller);
  for (let i = 0; i < 30; i++) {
    const isIo = prng.below(2) === 0;
    const { entry, data } = connectWords({
      ...(isIo ? { qid: 1 + prng.below(5), cntlid: first.controller.cntlid } : {}),
      sqsize: isIo ? pick(prng, [0, 1, 127, 127, 127, 128, 65535]) : 31,
      hostnqn: pick(prng, [HOST_NQN, HOST_NQN, HOST_NQN, `${HOST_NQN}-2`]),
      subnqn: pick(prng, [NQN, NQN, DISCOVERY]),
      katoMs: prng.below(100_000),
    });
    const isGood = prng.below(3) === 0;
    const bad = isGood ? entry : garbledEntry(prng, entry as Uint32Array<ArrayBuffer>);
    const { answer, controller, qid, sqEntries } = target.subsystem.connect(
      prng.below(3),
      bad,
      isGood ? data : mutate(prng, data, { fields: [16, 256, 512] }),
      target.nowMs,
    );
    connects.note(controller !== null);
    assertEquals(controller !== null, answer.status === 0);
    if (controller === null) continue;
    assert(sqEntries >= 2 && sqEntries <= 128 && (qid === 0) !== taken.has(controller));
    taken.add(controller);
    if (qid === 0) continue;
    if (isGood) assertEquals(controller.hostNqn, textAt(data, 512, controller.hostNqn.length + 1).replace("\0", ""));
    if (prng.below(2) === 0) controller.freeQueue(qid);
  }
  assertEquals(new Set(target.subsystem.controllers), taken);
  for (const controller of [...target.subsystem.controllers]) target.subsystem.remove(controller);
  assertEquals([...target.subsystem.controllers], []);
}, connects.atEnd());

// ── the target: commands to its I/O queues ──────────────────────────────────────────────────────────────────────────

const BUFFER = 16384;
const ZEROES = 8192;
const QUEUE_DEPTH = 8;
const BLOCKS = 64;

function ioCommand(prng: Prng): Command {
  const lba = prng.below(BLOCKS), blocks = 1 + prng.below(4);
  const data = new Uint8Array(blocks * 512).fill(1 + prng.below(255));
  return pick(prng, [
    read(lba, blocks, blocks * 512),
    write(lba, blocks, data, { inCapsule: prng.below(2) === 0 }),
    compare(lba, blocks, data),
    writeZeroes(lba, blocks, { control: pick(prng, [0, 1 << 25]) }),
    manage([[lba, blocks], [0, 1]]),
    flush(pick(prng, [1, 2, 0xffffffff])),
  ]);
}

const commands = new Tally();

fuzz("IoQueue answers any command once, and writes nothing outside its namespaces and slots", 300, (prng) => {
  const storages: Uint8Array[] = [];
  const { queue, connection, memory } = makeRig({
    namespaces: [{ nsid: 1, blockSize: 512, blocks: BLOCKS }, { nsid: 2, blockSize: 4096, blocks: 8, readOnly: true }],
    depth: QUEUE_DEPTH,
    bufferBytes: BUFFER,
    moreBytes: ZEROES + 64,
    makeDevice(requests, arena, { blockSize, blocks }) {
      // More than the namespace has, to see that nothing is written there.
      const storage = new Uint8Array(blockSize * (blocks + 8)).fill(0xa5);
      storages.push(storage);
      return new MemoryDevice(requests, { blockSize, storage, arena });
    },
  });
  const guard = moreOffset(QUEUE_DEPTH, BUFFER);
  memory.fill(0x77, 0, 4096).fill(0x77, guard);
  for (let i = 0; i < 30; i++) {
    const slots = [];
    for (let n = 1 + prng.below(QUEUE_DEPTH); n > 0; n--) {
      const command = ioCommand(prng);
      if (prng.below(3) > 0) {
        const dword = pick(prng, [0, 1, 1, 10, 10, 11, 12, 12, 13]);
        const value = pick(prng, [0, 1, BLOCKS, BLOCKS - 1, 0xffff, 0xffffffff, prng.uint32()]);
        command.dwords = { [dword]: dword === 0 && prng.below(4) > 0 ? prng.below(256) | 0x4000 : value };
        if (prng.below(4) === 0) command.dataBytes = pick(prng, [0, 1, 511, 512, 4096, BUFFER]);
      }
      // The connection has seen to it that data comes with commands that have it.
      if (command.dwords?.[0] !== undefined || command.dataBytes !== undefined) {
        const bytes = command.dataBytes ?? command.data?.length ?? 512;
        command.data = new Uint8Array(bytes).fill(prng.below(256));
        command.dataBytes = bytes;
      }
      slots.push(connection.send(command));
    }
    connection.answers.length = 0;
    for (let turns = 0; turns < 100 && connection.answers.length < slots.length; turns++) queue.turn(i);
    assertEquals(connection.answers.map(({ slot }) => slot).sort(), slots.sort());
    for (const { status } of connection.answers) {
      assert(typeof status === "number" && status >= 0 && status < 0x8000);
      commands.note(status === 0);
    }
  }
  assertEquals(connection.free, QUEUE_DEPTH);
  for (const [i, end] of [BLOCKS * 512, 0].entries()) {
    assert(storages[i].subarray(end).every((byte) => byte === 0xa5), `namespace ${i + 1}`);
  }
  assert(
    memory.subarray(0, 4096).every((byte) => byte === 0x77) && memory.subarray(guard).every((byte) => byte === 0x77),
  );
}, commands.atEnd());
