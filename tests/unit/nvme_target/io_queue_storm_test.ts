/**
 * Random commands of several hosts' kinds over an I/O queue, memory that answers in any order, and files that do all that
 * a file may do, against a model: every command is answered once, each block holds what the answers say, and what was
 * flushed or written with FUA survives a loss of power. UMPATH_SEED reproduces a run, UMPATH_COMMANDS makes it longer.
 */
import { assert, assertEquals } from "@std/assert";
import { EIO, ENOSPC } from "../../../src/base/errno.ts";
import { Prng } from "../../../src/base/prng.ts";
import { FileDevice } from "../../../src/block/file_device.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { NvmOpcode, RwCdw12 } from "../../../src/protocol/nvme.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { SimulatedFile } from "../block/simulated_file.ts";
import {
  type Answer,
  type Command,
  compare,
  flush,
  flushAll,
  makeRig,
  manage,
  moreOffset,
  read,
  type RigNamespace,
  write,
  writeZeroes,
} from "./io_rig.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const COMMANDS = Number(Deno.env.get("UMPATH_COMMANDS") ?? 1500);
console.log(`storm: UMPATH_SEED=${SEED}`);

const DEPTH = 12;
const BUFFER = 16384;
const ZEROES = 8192;
/** A block whose content is not one number over and over: a write of it has failed half-way. */
const TORN = -1;
const { DNR } = StatusField;
const ERRORS: number[] = [
  StatusCode.UNRECOVERED_READ_ERROR,
  StatusCode.WRITE_FAULT,
  StatusCode.CAPACITY_EXCEEDED | DNR,
];

/** What a namespace of the storm lies on. */
interface Backing {
  content: Uint8Array;
  /** What a loss of power leaves; null where there is nothing to lose or to keep. */
  stable: Uint8Array | null;
  /** Whether DISCARD zeroes. */
  canPunch: boolean;
  /** Does some of what the device wants done. */
  step(): void;
  isBusy(): boolean;
}

/** The values that a block has had, and the first of them that a loss of power may bring back. */
interface BlockHistory {
  values: number[];
  durable: number;
}

/** Blocks of a namespace that a command in flight is about. */
interface Claim {
  place: number;
  ranges: [lba: number, blocks: number][];
  isChange: boolean;
}

interface InFlight {
  command: Command;
  claim: Claim;
  /** What the blocks become, one value a range. */
  values: number[];
  /** For a flush: how much of each block's history it makes durable. */
  promised: number[][] | null;
}

class Storm {
  readonly prng: Prng;
  readonly backings: Backing[] = [];
  readonly rig: ReturnType<typeof makeRig>;
  readonly namespaces: RigNamespace[];
  readonly history: BlockHistory[][];
  readonly flights = new Map<number, InFlight>();
  readonly seen: Record<string, number> = {};
  #value = 1;
  answered = 0;

  constructor(seed: number, namespaces: RigNamespace[], backing: string) {
    this.prng = new Prng(seed);
    this.namespaces = namespaces;
    this.rig = makeRig({
      namespaces,
      depth: DEPTH,
      bufferBytes: BUFFER,
      moreBytes: ZEROES,
      makeDevice: (requests, memory, { blockSize, blocks }) => {
        if (backing === "memory") {
          const storage = new Uint8Array(blockSize * blocks);
          const device = new MemoryDevice(requests, { blockSize, storage, arena: memory, stepped: true });
          this.backings.push({
            content: storage,
            stable: null,
            canPunch: true,
            step: () => void device.step(this.prng.below(device.held), this.prng.below(40) === 0 ? EIO : 0),
            isBusy: () => device.held > 0,
          });
          return device;
        }
        const zeroesOffset = moreOffset(DEPTH, BUFFER);
        const device = new FileDevice(requests, { blockSize, zeroesOffset, zeroesBytes: ZEROES });
        const canPunch = this.prng.below(2) === 0;
        const file = new SimulatedFile({
          bytes: blockSize * blocks,
          memory,
          prng: this.prng,
          alignment: blockSize,
          canPunch,
          canZeroRange: this.prng.below(2) === 0,
          shortChance: 0.3,
          interruptChance: 0.1,
          errorChance: 0.01,
          errnos: [EIO, ENOSPC],
        });
        const isBusy = () => (file.take(device), file.pending.length > 0);
        const { content, stable } = file;
        this.backings.push({ content, stable, canPunch, step: () => file.step(device), isBusy });
        return device;
      },
    });
    this.history = namespaces.map(({ blocks }) => Array.from({ length: blocks }, () => ({ values: [0], durable: 0 })));
  }

  run(commands: number): void {
    while (this.answered < commands) this.#turn(true);
    for (let turns = 0; this.flights.size > 0; turns++) {
      assert(turns < 100_000, `${this.flights.size} commands are never answered`);
      this.#turn(false);
    }
    assert(this.rig.queue.isIdle && this.rig.connection.free === DEPTH);
    this.namespaces.forEach(({ blocks }, place) => this.#checkBlocks(place, 0, blocks));
  }

  #turn(sends: boolean): void {
    const { rig, prng } = this;
    if (sends && rig.connection.free > 0) this.#send();
    rig.queue.turn(0);
    const busy = this.backings.filter((backing) => backing.isBusy());
    if (busy.length > 0 && prng.below(3) > 0) busy[prng.below(busy.length)].step();
    rig.queue.turn(0);
    for (const answer of rig.connection.answers.splice(0)) this.#answer(answer);
    if (prng.below(50) === 0) this.#checkLossOfPower();
  }

  // ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #send(): void {
    const { prng } = this;
    const place = prng.below(this.namespaces.length);
    const { nsid, blockSize, blocks } = this.namespaces[place];
    const lba = prng.below(blocks);
    const count = 1 + prng.below(Math.min(BUFFER / blockSize, blocks - lba));
    const claim: Claim = { place, ranges: [[lba, count]], isChange: true };
    const fua = prng.below(4) === 0 ? RwCdw12.FUA : 0;
    const value = this.#value++;
    const more = { nsid, control: fua, inCapsule: prng.below(2) === 0 };
    switch (prng.below(8)) {
      case 0:
      case 1:
        return this.#start(read(lba, count, count * blockSize, more), { ...claim, isChange: false }, []);
      case 2:
      case 3:
        return this.#start(write(lba, count, filled(count * blockSize, value), more), claim, [value]);
      case 4: {
        const deac = prng.below(2) === 0 ? RwCdw12.DEAC : 0;
        return this.#start(writeZeroes(lba, count, { nsid, control: fua | deac }), claim, [0]);
      }
      case 5:
        return this.#compare(claim, more);
      case 6:
        return this.#deallocate(claim, nsid);
      default:
        return this.#flush(prng.below(2) === 0 ? -1 : place);
    }
  }

  #isFree({ place, ranges, isChange }: Claim): boolean {
    return ![...this.flights.values()].some(({ claim }) =>
      claim.place === place && (isChange || claim.isChange) &&
      claim.ranges.some(([a, n]) => ranges.some(([b, m]) => a < b + m && b < a + n))
    );
  }

  #start(command: Command, claim: Claim, values: number[], promised: number[][] | null = null): void {
    if (!this.#isFree(claim)) return;
    const slot = this.rig.connection.send(command);
    assert(!this.flights.has(slot), `Slot ${slot} is in use`);
    this.flights.set(slot, { command, claim, values, promised });
  }

  /** Compares with what the blocks have, or with that and one byte changed. */
  #compare(claim: Claim, more: Partial<Command>): void {
    if (!this.#isFree({ ...claim, isChange: false })) return;
    const [lba, count] = claim.ranges[0];
    const { blockSize } = this.namespaces[claim.place];
    const data = this.backings[claim.place].content.slice(lba * blockSize, (lba + count) * blockSize);
    const isSame = this.prng.below(2) === 0;
    if (!isSame) data[this.prng.below(data.length)] ^= 1 << this.prng.below(8);
    this.#start(compare(lba, count, data, more), { ...claim, isChange: false }, [isSame ? 1 : 0]);
  }

  #deallocate(claim: Claim, nsid: number): void {
    const { blocks } = this.namespaces[claim.place];
    const ranges = Array.from({ length: 1 + this.prng.below(5) }, (): [number, number] => {
      const lba = this.prng.below(blocks);
      return [lba, this.prng.below(blocks - lba + 1)];
    });
    this.#start(
      manage(ranges, { nsid, inCapsule: this.prng.below(2) === 0 }),
      { ...claim, ranges },
      ranges.map(() => 0),
    );
  }

  /** Of the namespace at `place`, -1 for all. */
  #flush(place: number): void {
    const promised = this.history.map((blocks, at) => {
      return place === -1 || place === at ? blocks.map(({ values }) => values.length - 1) : [];
    });
    const command = place === -1 ? flushAll() : flush(this.namespaces[place].nsid);
    this.#start(command, { place: 0, ranges: [], isChange: false }, [], promised);
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #answer({ slot, status, data }: Answer): void {
    const flight = this.flights.get(slot)!;
    assert(this.flights.delete(slot), `Slot ${slot} is answered once`);
    this.answered++;
    const { command, claim } = flight;
    const name = `${command.opcode}:${status}`;
    this.seen[name] = (this.seen[name] ?? 0) + 1;
    if (command.opcode === NvmOpcode.COMPARE && !ERRORS.includes(Number(status))) {
      return assertEquals(status, flight.values[0] === 1 ? 0 : StatusCode.COMPARE_FAILURE | DNR);
    }
    if (status !== 0) {
      assert(ERRORS.includes(Number(status)), `Status ${status} came from nowhere`);
      assertEquals(data, null);
      if (claim.isChange) this.#learn(claim);
      return;
    }
    if (command.opcode === NvmOpcode.READ) this.#checkRead(claim, data!);
    if (flight.promised !== null) this.#keep(flight.promised);
    if (claim.isChange) this.#change(flight);
  }

  #checkRead({ place, ranges: [[lba, count]] }: Claim, data: Uint8Array): void {
    const { blockSize } = this.namespaces[place];
    assertEquals(data.length, count * blockSize);
    for (let i = 0; i < count; i++) {
      const value = valueOf(data.subarray(i * blockSize, (i + 1) * blockSize));
      assertEquals(value, this.history[place][lba + i].values.at(-1), `block ${lba + i} as it was read`);
    }
  }

  #keep(promised: number[][]): void {
    promised.forEach((blocks, place) =>
      blocks.forEach((index, lba) => {
        const block = this.history[place][lba];
        block.durable = Math.max(block.durable, index);
      })
    );
  }

  #change({ command, claim: { place, ranges }, values }: InFlight): void {
    const isDiscard = command.opcode === NvmOpcode.DATASET_MANAGEMENT;
    const isForced = !isDiscard && ((command.control ?? 0) & RwCdw12.FUA) !== 0;
    ranges.forEach(([lba, count], i) => {
      if (isDiscard && !this.backings[place].canPunch) return;
      for (const block of this.history[place].slice(lba, lba + count)) {
        block.values.push(values[i]);
        if (isForced) block.durable = block.values.length - 1;
      }
    });
    for (const [lba, count] of ranges) this.#checkBlocks(place, lba, count);
  }

  /** A change that failed has been made, or not, or in part. */
  #learn({ place, ranges }: Claim): void {
    for (const [lba, count] of ranges) {
      for (let i = lba; i < lba + count; i++) this.history[place][i].values.push(this.#valueAt(place, i));
    }
  }

  // ── checks ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #valueAt(place: number, lba: number, bytes = this.backings[place].content): number {
    const { blockSize } = this.namespaces[place];
    return valueOf(bytes.subarray(lba * blockSize, (lba + 1) * blockSize));
  }

  #checkBlocks(place: number, lba: number, count: number): void {
    for (let i = lba; i < lba + count; i++) {
      assertEquals(this.#valueAt(place, i), this.history[place][i].values.at(-1), `block ${i}`);
    }
  }

  #checkLossOfPower(): void {
    this.backings.forEach(({ stable }, place) => {
      if (stable === null) return;
      const changing = [...this.flights.values()].map(({ claim }) => claim)
        .filter((claim) => claim.place === place && claim.isChange).flatMap(({ ranges }) => ranges);
      this.history[place].forEach(({ values, durable }, lba) => {
        if (changing.some(([first, count]) => lba >= first && lba < first + count)) return;
        const possible = values.slice(durable);
        const value = this.#valueAt(place, lba, stable);
        if (value === TORN && possible.length > 1) return; // a write that nobody has flushed may be there in part
        assert(possible.includes(value), `block ${lba} has ${value} after a loss of power, and not one of ${possible}`);
      });
    });
  }
}

function filled(bytes: number, value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(bytes / 4).fill(value).buffer);
}

/** The number that a block is filled with. */
function valueOf(block: Uint8Array): number {
  const copy = new Uint32Array(block.slice().buffer);
  return copy.every((word) => word === copy[0]) ? copy[0] : TORN;
}

const NAMESPACES: RigNamespace[] = [
  { nsid: 3, blockSize: 512, blocks: 96 },
  { nsid: 1, blockSize: 4096, blocks: 24 },
];

for (const backing of ["memory", "files"]) {
  Deno.test(`IoQueue over ${backing} holds what it has answered for, in a storm`, () => {
    for (let round = 0; round < 4; round++) {
      const storm = new Storm(SEED + round, NAMESPACES, backing);
      try {
        storm.run(COMMANDS);
      } catch (cause) {
        throw new Error(`Failed with UMPATH_SEED=${SEED} in round ${round}, after ${storm.answered} answers`, {
          cause,
        });
      }
      for (const opcode of [0, 1, 2, 5, 8, 9]) assert(storm.seen[`${opcode}:0`] > 5, `Opcode ${opcode} was done`);
      assert(storm.seen[`5:${StatusCode.COMPARE_FAILURE | DNR}`] > 5, "Some comparisons have failed");
    }
  });
}
