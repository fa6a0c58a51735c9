/** An I/O queue over a connection that is only a script, for the tests of `IoQueue`. */
import { assert } from "@std/assert";
import { Fifo } from "../../../src/base/fifo.ts";
import type { BlockDevice } from "../../../src/block/device.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { NSID_ALL, NvmOpcode } from "../../../src/protocol/nvme.ts";
import type { IoCommands, IoConnection } from "../../../src/nvme_target/io_connection.ts";
import { IoQueue } from "../../../src/nvme_target/io_queue.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";

/** A command as a test writes it. */
export interface Command {
  opcode: number;
  nsid?: number;
  lba?: number;
  blocks?: number;
  /** Bits of CDW12 besides the number of blocks. */
  control?: number;
  /** The host's data. */
  data?: Uint8Array;
  /** Length that the SGL tells; that of `data` by default. */
  dataBytes?: number;
  inCapsule?: boolean;
  /** Changes of the dwords of the entry, made last. */
  dwords?: Record<number, number>;
}

export interface Answer {
  slot: number;
  /** The status, or "dropped". */
  status: number | "dropped";
  /** What went to the host. */
  data: Uint8Array | null;
  isSpoiled: boolean;
}

/** A connection that has what the test puts into it. */
export class ScriptedConnection implements IoConnection {
  state = "ready";
  readonly commands: IoCommands;
  readonly answers: Answer[] = [];
  /** Slots that data was asked for, in that order. */
  readonly fetches: number[] = [];
  /** Fetched data comes only when the test calls `deliver()`. */
  holdsData = false;

  readonly #memory: Uint8Array;
  readonly #arrived: Fifo;
  readonly #free: number[];
  readonly #owned = new Set<number>();
  readonly #data: (Uint8Array | undefined)[] = [];
  #spoils = false;

  constructor(memory: Uint8Array, options: { depth: number; dataOffset: number; dataBytes: number }) {
    const { depth, dataOffset, dataBytes } = options;
    this.#memory = memory;
    this.#arrived = new Fifo(depth);
    this.#free = Array.from({ length: depth }, (_, slot) => slot);
    this.commands = {
      depth,
      sqe: new Uint32Array(depth * 16),
      dataBytes: new Uint32Array(depth),
      dataOffset: Uint32Array.from({ length: depth }, (_, slot) => dataOffset + slot * dataBytes),
      hasData: new Uint8Array(depth),
    };
  }

  /** Slots that may be sent into. */
  get free(): number {
    return this.#free.length;
  }

  /** A command arrives. Gives its slot. */
  send(command: Command): number {
    assert(this.#free.length > 0, "The test sends no more commands than there are slots");
    const slot = this.#free.shift()!;
    const { commands } = this;
    const sqe = commands.sqe.subarray(slot * 16, slot * 16 + 16);
    const lba = command.lba ?? 0;
    sqe.fill(0);
    sqe[0] = command.opcode | 0x4000 | (slot << 16);
    sqe[1] = command.nsid ?? 1;
    sqe[10] = lba % 2 ** 32;
    sqe[11] = lba / 2 ** 32;
    sqe[12] = ((command.blocks ?? 1) - 1) | (command.control ?? 0);
    for (const [index, value] of Object.entries(command.dwords ?? {})) sqe[Number(index)] = value;
    commands.dataBytes[slot] = command.dataBytes ?? command.data?.length ?? 0;
    commands.hasData[slot] = 0;
    this.#data[slot] = command.data;
    if (command.inCapsule && command.data) this.#fill(slot);
    this.#arrived.push(slot);
    return slot;
  }

  #fill(slot: number): void {
    this.#memory.set(this.#data[slot]!, this.commands.dataOffset[slot]);
    this.commands.hasData[slot] = 1;
  }

  /** Data that was asked for is there. */
  deliver(slot: number): void {
    this.#fill(slot);
    this.#arrived.push(slot);
  }

  pollCommand(): number {
    const slot = this.#arrived.shift();
    if (slot !== -1) this.#owned.add(slot);
    return slot;
  }

  fetchData(slot: number): void {
    assert(this.#owned.delete(slot), `Slot ${slot} is fetched by who has it`);
    assert(this.commands.hasData[slot] === 0 && this.commands.dataBytes[slot] > 0);
    this.fetches.push(slot);
    if (!this.holdsData) this.deliver(slot);
  }

  respond(slot: number, status: number): void {
    this.#answer(slot, status, null);
  }

  respondWithData(slot: number, bytes: number): void {
    assert(bytes <= this.commands.dataBytes[slot]);
    const offset = this.commands.dataOffset[slot];
    this.#answer(slot, 0, this.#memory.slice(offset, offset + bytes));
  }

  drop(slot: number): void {
    this.#answer(slot, "dropped", null);
  }

  spoilNextDigest(): void {
    this.#spoils = true;
  }

  #answer(slot: number, status: Answer["status"], data: Uint8Array | null): void {
    assert(this.#owned.delete(slot), `Slot ${slot} is answered once, by who has it`);
    assert(this.state === "ready" || status === "dropped", "A connection that is over answers nothing");
    this.answers.push({ slot, status, data, isSpoiled: this.#spoils });
    this.#spoils = false;
    this.#free.push(slot);
  }
}

/** A device whose requests the test sees and answers. */
export class ManualDevice implements BlockDevice {
  /** Slots that were submitted and not answered. */
  readonly submitted: number[] = [];
  readonly #requests: RequestTable;
  readonly #answered: number[] = [];

  constructor(requests: RequestTable) {
    this.#requests = requests;
  }

  submit(slot: number): void {
    assert(!this.submitted.includes(slot), "A slot is submitted once");
    this.submitted.push(slot);
  }

  pollCompletion(): number {
    return this.#answered.shift() ?? -1;
  }

  /** What the oldest request is: its operation, flags, first block (exact) and number of blocks. */
  get oldest(): { op: number; flags: number; lba: number; blocks: number } {
    const slot = this.submitted[0], requests = this.#requests;
    return {
      op: requests.op[slot],
      flags: requests.flags[slot],
      lba: requests.lbaHigh[slot] * 2 ** 32 + requests.lbaLow[slot],
      blocks: requests.blocks[slot],
    };
  }

  /** Answers the oldest request. */
  answer(errno = 0): void {
    assert(this.submitted.length > 0, "There is a request to answer");
    const slot = this.submitted.shift()!;
    this.#requests.status[slot] = errno;
    this.#answered.push(slot);
  }
}

/** A namespace of the rig. */
export interface RigNamespace {
  nsid: number;
  blockSize: number;
  blocks: number;
  readOnly?: boolean;
}

export interface RigOptions<Device extends BlockDevice> {
  namespaces: RigNamespace[];
  makeDevice: (requests: RequestTable, memory: Uint8Array<ArrayBuffer>, namespace: RigNamespace) => Device;
  depth?: number;
  bufferBytes?: number;
  transferBytesMax?: number;
  /** More arena past the buffers. */
  moreBytes?: number;
  onRefused?: (slot: number, status: number) => boolean;
}

const ARENA_OFFSET = 4096;

/** A queue with everything that it needs, on the listener 2. */
export function makeRig<Device extends BlockDevice>(options: RigOptions<Device>) {
  const { depth = 8, bufferBytes = 16384, moreBytes = 0 } = options;
  const slots = IoQueue.slots(depth);
  const memory = new Uint8Array(ARENA_OFFSET + slots * bufferBytes + moreBytes);
  const requests = new RequestTable(slots, { bufferBytes, arenaOffset: ARENA_OFFSET });
  const connection = new ScriptedConnection(memory, { depth, dataOffset: ARENA_OFFSET, dataBytes: bufferBytes });
  const table = new TargetTable();
  table.setAna(2, AnaStateCode.OPTIMIZED);
  const namespaces = options.namespaces.map((namespace, place) => {
    const index = 3 + place;
    table.setBlocks(index, namespace.blocks);
    table.setReadOnly(index, namespace.readOnly ?? false);
    return { ...namespace, index, device: options.makeDevice(requests, memory, namespace) };
  });
  const transferBytesMax = options.transferBytesMax ?? bufferBytes;
  const { onRefused = () => false } = options;
  const limits = { listener: 2, transferBytesMax };
  const queue = new IoQueue({ connection, requests, memory, namespaces, table, onRefused, ...limits });
  /** Sends the command and gives its answer, which must come in the same turn. */
  const run = (command: Command): Answer => {
    const slot = connection.send(command);
    connection.answers.length = 0;
    queue.turn(0);
    assert(connection.answers.length === 1 && connection.answers[0].slot === slot, "The command is answered at once");
    return connection.answers[0];
  };
  return { queue, connection, requests, memory, table, namespaces, devices: namespaces.map((one) => one.device), run };
}

/** Where the arena past the buffers begins that `moreBytes` asked for. */
export function moreOffset(depth: number, bufferBytes: number): number {
  return ARENA_OFFSET + IoQueue.slots(depth) * bufferBytes;
}

export const read = (lba: number, blocks: number, bytes: number, more: Partial<Command> = {}): Command => {
  return { opcode: NvmOpcode.READ, lba, blocks, dataBytes: bytes, ...more };
};
export const write = (lba: number, blocks: number, data: Uint8Array, more: Partial<Command> = {}): Command => {
  return { opcode: NvmOpcode.WRITE, lba, blocks, data, ...more };
};
export const compare = (lba: number, blocks: number, data: Uint8Array, more: Partial<Command> = {}): Command => {
  return { opcode: NvmOpcode.COMPARE, lba, blocks, data, ...more };
};
export const writeZeroes = (lba: number, blocks: number, more: Partial<Command> = {}): Command => {
  return { opcode: NvmOpcode.WRITE_ZEROES, lba, blocks, ...more };
};
export const flush = (nsid = 1): Command => ({ opcode: NvmOpcode.FLUSH, nsid, dwords: { 12: 0 } });
export const flushAll = (): Command => flush(NSID_ALL);

/** Dataset Management of ranges, each a first block and a length. */
export function manage(ranges: [lba: number, blocks: number][], more: Partial<Command> = {}): Command {
  const data = new Uint8Array(ranges.length * 16);
  const view = new DataView(data.buffer);
  ranges.forEach(([lba, blocks], i) => {
    view.setUint32(i * 16, 0xdeadbeef, true);
    view.setUint32(i * 16 + 4, blocks, true);
    view.setBigUint64(i * 16 + 8, BigInt(lba), true);
  });
  return {
    opcode: NvmOpcode.DATASET_MANAGEMENT,
    data,
    dwords: { 10: ranges.length - 1, 11: 1 << 2, 12: 0 },
    ...more,
  };
}
