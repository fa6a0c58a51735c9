import { native } from "../../ffi/library.ts";
import { unreachable } from "../base/assert.ts";
import type { BlockDevice } from "../block/device.ts";
import { FileDevice } from "../block/file_device.ts";
import { FileOperation } from "../block/file_operation.ts";
import { MemoryDevice } from "../block/memory_device.ts";
import { RequestTable } from "../block/request.ts";
import type { Arena, Region } from "../io/arena.ts";
import { TWO_32 } from "../io/memory.ts";
import type { Ring } from "../io/ring.ts";
import type { RingOwner } from "../io/ring_loop.ts";
import { SocketLink } from "../io/socket_link.ts";
import { tokenHigh, TokenKind } from "../io/token.ts";
import { NvmOpcode } from "../protocol/nvme.ts";
import { TargetConnection } from "../nvme_target/connection.ts";
import { SQE_SHIFT, SqeDword } from "../nvme_target/io_checks.ts";
import { IoCounters } from "../nvme_target/io_counters.ts";
import type { FaultScript, FaultSubject } from "../nvme_target/fault_script.ts";
import { IoQueue } from "../nvme_target/io_queue.ts";
import { LinkFaults } from "../nvme_target/link_faults.ts";
import type { TargetTable } from "../nvme_target/target_table.ts";
import { setWindow } from "./fault_socket.ts";
import type { AddConnection, FromTargetWorker, ServedNamespace } from "./worker_messages.ts";

/** A namespace in a worker. */
export interface NamespaceInWorker extends ServedNamespace {
  /** The memory behind it, of which there is one view for all connections; null if there is a file. */
  readonly storage: Uint8Array | null;
}

/** What all connections of a worker have in common. */
export interface ServedTarget {
  /** Where each has a region for its buffers. */
  readonly arena: Arena;
  readonly namespaces: readonly NamespaceInWorker[];
  readonly table: TargetTable;
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
}

/** Zeroes that are written where a file cannot zero a range, in bytes: one piece a write. */
const ZEROES_BYTES = 64 << 10;
/** A slot takes so many bits of the index of a file operation's token; above them is the namespace's place. */
const SLOT_BITS = 16;
const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Ticks for which a connection counts as busy after the last bytes came in: soon there are more. */
const ACTIVE_TICKS = 2;
/** Errors told of between two ticks at most: what a host does wrong must not keep the main thread busy. */
const ERRORS_TOLD_MAX = 16;

/** A namespace's file as one connection uses it. */
interface OpenFile {
  readonly fd: number;
  readonly device: FileDevice;
}

/**
 * One I/O connection in its worker: its region, the pure machines and the socket. It joins them with the ring: completions
 * are handed to the machine they belong to, and what the machines want is put into the ring.
 *
 *     region: [ slot buffers … | Compare's | zeroes | TargetConnection's part | SocketLink's part ]
 */
export class IoConnectionQueue implements RingOwner {
  readonly #index: number;
  readonly #memory: Region;
  readonly #link: SocketLink<TargetConnection>;
  readonly #queue: IoQueue;
  /** By the place of the namespace; null for those without a file. */
  readonly #files: (OpenFile | null)[];
  readonly #fileToken: number;
  readonly #tell: (message: FromTargetWorker) => void;
  readonly #subject: FaultSubject;
  /** What is wrong with the way of the bytes; null for nothing. */
  #faults: LinkFaults | null = null;
  /** What came in during a stall, which is not looked at before its end; null for nothing. */
  #stalledResult: number | null = null;
  #activeTicks = ACTIVE_TICKS;
  #errorsTold = 0;
  #isClosed = false;
  #isOver = false;

  constructor(message: AddConnection, target: ServedTarget, tell: (message: FromTargetWorker) => void) {
    this.#index = message.connection;
    this.#tell = tell;
    const { listener, stream, sinceEpochMs } = message;
    this.#subject = { listener, queue: "io", stream, sinceMs: sinceEpochMs - performance.timeOrigin };
    this.#fileToken = tokenHigh(TokenKind.FILE, message.connection);
    const depth = message.queue.sqEntries;
    const slots = IoQueue.slots(depth);
    const zeroesOffset = slots * target.transferBytesMax;
    const arenaOffset = zeroesOffset + ZEROES_BYTES;
    const linkOffset = roundUp(arenaOffset + TargetConnection.arenaBytes(depth), 16);
    this.#memory = target.arena.allocate(linkOffset + SocketLink.arenaBytes);
    try {
      const memory = this.#memory.bytes;
      const requests = new RequestTable(slots, { bufferBytes: target.transferBytesMax });
      const connection = new TargetConnection({
        memory,
        arenaOffset,
        slots: depth,
        dataOffset: 0,
        dataBytes: target.transferBytesMax,
        inCapsuleBytes: target.inCapsuleBytes,
        crc32c: (offset, bytes) => native().um_crc32c_part(memory, offset, bytes),
      });
      connection.adopt(message.transfer, message.queue);
      this.#files = target.namespaces.map(({ blockSize, store }) =>
        store.type === "file"
          ? { fd: store.fd, device: new FileDevice(requests, { blockSize, zeroesOffset, zeroesBytes: ZEROES_BYTES }) }
          : null
      );
      const namespaces = target.namespaces.map((namespace, place) => ({
        index: namespace.index,
        nsid: namespace.nsid,
        blockSize: namespace.blockSize,
        device: this.#files[place]?.device ?? memoryDevice(namespace, requests, memory),
      }));
      this.#queue = new IoQueue({
        connection,
        requests,
        memory,
        namespaces,
        table: target.table,
        listener: message.listener,
        transferBytesMax: target.transferBytesMax,
        counters: new IoCounters(message.counters),
        onRefused: (slot, status, errno) => this.#tellError(connection, slot, { status, errno }),
      });
      this.#link = new SocketLink({
        id: message.connection,
        fd: message.fd,
        connection,
        memory: this.#memory,
        arenaOffset: linkOffset,
        owner: message.connection,
        index: 0,
      });
    } catch (error) {
      this.#memory[Symbol.dispose]();
      throw error;
    }
  }

  get isBusy(): boolean {
    return this.#activeTicks > 0 || !this.#queue.isIdle;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get nextDueMs(): number {
    const faults = this.#faults;
    return faults === null ? this.#queue.nextDueMs : Math.min(this.#queue.nextDueMs, faults.nextDueMs);
  }

  /** Faults of that script hit it from now on; null for none. A turn has to follow. */
  setScript(script: FaultScript | null): void {
    const faults = script?.connection(this.#subject) ?? null;
    this.#queue.faults = faults !== null && faults.hasCommandRules ? faults : null;
    if (faults !== null) this.#faults ??= new LinkFaults();
    this.#faults?.setFaults(faults);
  }

  /** Ends it: nothing that has come in is begun any more. "connection-closed" is told once it is quiet. */
  close(): void {
    this.#isClosed = true;
    this.#link.connection.handleTransportError("the target closed it");
  }

  handleCompletion(ring: Ring, kind: number, _nowMs: number): void {
    switch (kind) {
      case TokenKind.FILE: {
        const file = this.#files[ring.tokenLow >>> SLOT_BITS]!;
        return file.device.handleOperationDone(ring.tokenLow & SLOT_MASK, ring.result);
      }
      case TokenKind.RECEIVE:
        this.#activeTicks = ACTIVE_TICKS;
        return this.#handleReceived(ring.result);
    }
    if (ring.result > 0) this.#faults?.handleMoved(ring.result);
    this.#link.handleSent(ring, ring.result);
  }

  #handleReceived(result: number): void {
    const faults = this.#faults;
    if (faults === null) return this.#link.handleReceived(result);
    if (faults.isHalfOpen) return this.#link.throwReceived(result);
    if (faults.isSilent && this.#link.connection.state !== "failed") {
      this.#stalledResult = result;
      return;
    }
    if (result > 0) faults.handleMoved(result);
    this.#link.handleReceived(result);
  }

  #tellError(
    { commands: { sqe, cid } }: TargetConnection,
    slot: number,
    { status, errno }: { status: number; errno: number },
  ): boolean {
    if (this.#errorsTold === ERRORS_TOLD_MAX) return false;
    this.#errorsTold++;
    const at = slot << SQE_SHIFT;
    this.#tell({
      type: "command-failed",
      connection: this.#index,
      cid: cid[slot]!,
      status,
      nsid: sqe[at + SqeDword.NSID]!,
      lba: sqe[at + SqeDword.CDW10]! + sqe[at + SqeDword.CDW11]! * TWO_32,
      errno,
      isRead: isRead(sqe[at]! & 0xff),
    });
    return true;
  }

  handleTime(_nowMs: number): void {
    this.#errorsTold = 0;
    if (this.#activeTicks > 0) this.#activeTicks--;
  }

  turn(ring: Ring, nowMs: number): void {
    if (this.#faults !== null) this.#handleFaults(this.#faults, nowMs);
    this.#queue.turn(nowMs);
    for (let place = 0; place < this.#files.length; place++) {
      const file = this.#files[place];
      if (file !== null) this.#operate(ring, file, place << SLOT_BITS);
    }
    const link = this.#link;
    if (link.connection.state === "failed") return this.#end();
    const faults = this.#faults;
    if (faults === null) return link.arm(ring);
    if (faults.maySend) link.armSend(ring);
    if (faults.mayReceive) link.armReceive(ring);
  }

  /** Looks at what is wrong with the way of the bytes now. */
  #handleFaults(faults: LinkFaults, nowMs: number): void {
    const { fd, connection } = this.#link;
    faults.handleTime(nowMs);
    const window = faults.pollWindow();
    if (window !== null) setWindow(fd, window);
    if (faults.isReset && connection.state !== "failed") {
      native().um_socket_reset(fd);
      connection.handleTransportError("a fault has reset it");
    }
    if (connection.state === "failed" || !faults.isSilent || faults.isHalfOpen) this.#takeStalled();
    if (faults.isOver) this.#faults = null;
  }

  #takeStalled(): void {
    const result = this.#stalledResult;
    if (result === null) return;
    this.#stalledResult = null;
    this.#handleReceived(result);
  }

  /** Puts what the file shall do into the ring. */
  #operate(ring: Ring, { fd, device }: OpenFile, place: number): void {
    const base = this.#memory.address;
    const token = this.#fileToken;
    for (let slot = device.pollOperation(); slot !== -1; slot = device.pollOperation()) {
      const offset = device.fileOffset(slot);
      const bytes = device.bytes(slot);
      const flags = device.flags(slot);
      const index = place | slot;
      switch (device.operation(slot)) {
        case FileOperation.READ:
          ring.prepReadAt(fd, base + device.memoryOffset(slot), bytes, offset, flags, token, index);
          break;
        case FileOperation.WRITE:
          ring.prepWriteAt(fd, base + device.memoryOffset(slot), bytes, offset, flags, token, index);
          break;
        case FileOperation.SYNC:
          ring.prepSync(fd, token, index);
          break;
        case FileOperation.ALLOCATE:
          ring.prepAllocate(fd, flags, offset, bytes, token, index);
          break;
        default:
          unreachable("A file is read, written, synced and allocated");
      }
    }
  }

  /** The connection has failed or was closed: once the kernel has nothing of it any more, it is over. */
  #end(): void {
    const link = this.#link;
    link.shut();
    if (!link.isQuiet || !this.#queue.isIdle) return;
    link.close();
    this.#isOver = true;
    const reason = this.#isClosed ? null : link.connection.failure?.reason ?? "it failed";
    this.#tell({ type: "connection-closed", connection: this.#index, reason });
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** Commands that read what is behind a namespace. */
function isRead(opcode: number): boolean {
  return opcode === NvmOpcode.READ || opcode === NvmOpcode.COMPARE;
}

function memoryDevice(namespace: NamespaceInWorker, requests: RequestTable, arena: Uint8Array): BlockDevice {
  const { storage, blockSize } = namespace;
  if (storage === null) unreachable("A namespace without a file is in memory");
  return new MemoryDevice(requests, { blockSize, storage, arena });
}

function roundUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
