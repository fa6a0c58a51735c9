/**
 * One NVMe/TCP connection, controller side: the IC exchange, PDUs in and out, digests, and the data transfer of the
 * commands on its queue pair. Pure: bytes come in by `handleReceived()` and go out by `pollSend()`.
 *
 *     socket ─► prepareReceive() / handleReceived() ─► parse ─► pollCommand() ─► fetchData(), respond…() or drop()
 *     respond…() ─► queue of slots ─► pollSend() composes a SendBatch ─► socket ─► handleSent() ─► slot is free
 *
 * Contract: a command that `pollCommand()` returned is its owner's until the owner answers, drops it or asks for its
 * data. Bytes from the peer are never asserted on: what breaks the protocol fails the connection with a reason in words,
 * what is wrong with one command only is answered with a status, and nothing is ever written outside the data buffer of
 * the command that has the data. After a failure nothing is handed up, sent or asked for any more; the owner then still
 * calls `respond()` or `drop()` for every command that it has, which only frees the slot, and forgets those it fetches
 * data for.
 */
import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import { FABRICS_OPCODE, SglAt, SglIdentifier, SqeAt, SQHD_FLOW_CONTROL_DISABLED } from "../protocol/nvme.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import {
  CapsuleCmdAt,
  DIGEST_BYTES,
  DigestFlag,
  FatalErrorStatus,
  fatalErrorWords,
  H2CDataAt,
  ICReqAt,
  PDA_MAX,
  PDU_COMMON_HEADER_BYTES,
  PduAt,
  pduDataAlignment,
  PduFlag,
  PduHlen,
  pduHlen,
  pduName,
  PduType,
  PFV_1_0,
  TERM_REQ_PLEN_MAX,
  TermReqAt,
} from "../protocol/nvme_tcp.ts";
import { CommandSlots, SlotPhase, TransferDirection } from "./command_slots.ts";
import { judgeDataPointer, SQE_DWORDS } from "./data_pointer.ts";
import {
  commonHeaderFault,
  offendingBytes,
  type PduFault,
  pduFault,
  plenFault,
  terminationRequest,
} from "./pdu_fault.ts";
import { ANSWER_HEADER_BYTES_MAX, ANSWER_SEGMENTS_MAX, PduWriter, TARGET_MAXH2CDATA } from "./pdu_writer.ts";
import { NOWHERE, ReceiveWindow } from "./receive_window.ts";
import { SendBatch } from "./send_batch.ts";
import type { Crc32c, TargetQueue, TargetTransfer } from "./transfer.ts";

export type { Crc32c, TargetQueue, TargetTransfer } from "./transfer.ts";

/** "waiting" for the host's ICReq; "failed" is final. */
export type TargetConnectionState = "waiting" | "ready" | "failed";

/** Why a connection failed. */
export interface TargetConnectionFailure {
  /** In words, for people. */
  readonly reason: string;
  /** Fatal error status for the termination request; 0 if the peer is not to be told. */
  readonly fes: number;
  /** Fatal error information: a byte of the offending header, or the digest that was received. */
  readonly fei: number;
}

export interface TargetConnectionOptions {
  /** The arena: data buffers of the commands, and the connection's own part of it. */
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Where the connection's own part begins; `TargetConnection.arenaBytes()` long, aligned to 8. */
  readonly arenaOffset: number;
  /** Commands in flight at most: the entries of the queue. */
  readonly slots: number;
  /** Slot s has `dataBytes` bytes at `dataOffset + s * dataBytes`. */
  readonly dataOffset: number;
  readonly dataBytes: number;
  /** Data that a command capsule may carry, in bytes. */
  readonly inCapsuleBytes: number;
  /** Called only if digests are agreed on. */
  readonly crc32c: Crc32c;
  /** The digests that are offered; both by default. Those are used that the host asks for and that are offered. */
  readonly digests?: { readonly header: boolean; readonly data: boolean };
  readonly receiveBytes?: number;
}

/** Most pieces of one gathering send: the kernel's UIO_MAXIOV. */
const SEGMENTS_MAX = 1024;
/** Header bytes reserved in a batch for each slot; with a large HPDA a batch ends sooner. */
const BATCH_BYTES_PER_SLOT = 64;
const BATCH_SLOTS_MAX = 512;
/** A batch with so much data takes no more, so that a small answer never waits for all data of all reads. */
const BATCH_DATA_BYTES = 1 << 20;
const RECEIVE_BYTES_DEFAULT = 256 << 10;
const RECEIVE_BYTES_MIN = 256;
/** Average bytes of the fetches in flight from which they count as large. */
const LARGE_FETCH_BYTES = 16 << 10;
/** What the next received bytes are. */
const Stage = { HEADER: 0, BODY: 1, DIGEST: 2 } as const;

export class TargetConnection {
  readonly commands: CommandSlots;
  readonly sendBuffer: SendBatch;
  readonly receiveBuffer: ReceiveWindow;

  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #limits: { readonly inCapsuleBytes: number; readonly slotBytes: number };
  readonly #crc32c: Crc32c;
  readonly #writer: PduWriter;
  readonly #offered: { readonly header: boolean; readonly data: boolean };
  /** Slots for `pollCommand()`. */
  readonly #arrived: Fifo;
  /** Slots with an R2T or an answer to send; each at most once. */
  readonly #sends: Fifo;

  #state: TargetConnectionState = "waiting";
  #failure: TargetConnectionFailure | null = null;
  #offending = new Uint8Array(0);
  #owesIcResp = false;
  #transfer: TargetTransfer = { headerDigest: false, dataDigest: false, hostDataAlignment: 4, hostR2tsMax: 1 };
  #headerDigestBytes = 0;
  #dataDigestBytes = 0;
  /** Flags that are the same in all headers of commands and their data, and what they are; none before the exchange. */
  #digestMask = 0;
  #digestFlags = -1;

  #sqEntries: number;
  #sqFlowControl = true;
  #sqHead = 0;

  #stage: number = Stage.HEADER;
  #bodySlot = -1;
  #bodyPlace = NOWHERE;
  #bodyBytes = 0;
  /** A capsule waits in the receive window for a slot whose answer is being sent. */
  #isStalled = false;
  #fetches = 0;
  #fetchBytes = 0;
  #lastTag = 0;

  /** Bytes of arena that a connection takes for itself. */
  static arenaBytes(slots: number, receiveBytes = RECEIVE_BYTES_DEFAULT): number {
    return TargetConnection.#windowBytes(receiveBytes) + TargetConnection.#batchBytes(slots);
  }

  static #windowBytes(receiveBytes: number): number {
    return (receiveBytes + 7) & ~7;
  }

  static #batchBytes(slots: number): number {
    return PduHlen.ICResp + 2 * ANSWER_HEADER_BYTES_MAX + Math.min(slots, BATCH_SLOTS_MAX) * BATCH_BYTES_PER_SLOT;
  }

  constructor(options: TargetConnectionOptions) {
    const { memory, slots, arenaOffset } = options;
    const receiveBytes = options.receiveBytes ?? RECEIVE_BYTES_DEFAULT;
    assert(arenaOffset % 8 === 0, "A connection's part of the arena is aligned to 8 bytes");
    assert(receiveBytes >= RECEIVE_BYTES_MIN, "The largest header fits in the receive window");
    assert(options.dataOffset + slots * options.dataBytes <= memory.length, "Every slot's buffer is in the arena");
    this.commands = new CommandSlots(slots, { offset: options.dataOffset, bytes: options.dataBytes });
    this.#memory = memory;
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#limits = { inCapsuleBytes: options.inCapsuleBytes, slotBytes: options.dataBytes };
    this.#crc32c = options.crc32c;
    this.#offered = options.digests ?? { header: true, data: true };
    this.receiveBuffer = new ReceiveWindow(memory, { offset: arenaOffset, bytes: receiveBytes });
    this.sendBuffer = new SendBatch(memory, {
      offset: arenaOffset + TargetConnection.#windowBytes(receiveBytes),
      headerBytes: TargetConnection.#batchBytes(slots),
      segmentsMax: SEGMENTS_MAX,
      slots,
    });
    this.#writer = new PduWriter(memory, {
      batch: this.sendBuffer,
      commands: this.commands,
      crc32c: options.crc32c,
    });
    this.#arrived = new Fifo(slots);
    this.#sends = new Fifo(slots);
    this.#sqEntries = slots;
  }

  get state(): TargetConnectionState {
    return this.#state;
  }

  /** Why the state is "failed"; null otherwise. */
  get failure(): TargetConnectionFailure | null {
    return this.#failure;
  }

  /** Commands whose answer is not sent completely; after a failure those that the owner still has. */
  get inFlight(): number {
    return this.commands.inUse;
  }

  /** True if bytes were received that belong to no complete PDU yet. */
  get isMidPdu(): boolean {
    return this.receiveBuffer.available > 0 || this.#stage !== Stage.HEADER;
  }

  /** What the IC exchange settled. Only in state "ready". */
  get transfer(): TargetTransfer {
    assert(this.#state === "ready", "What the IC exchange settles is known once the connection is ready");
    return this.#transfer;
  }

  /** The submission queue as it is now: for another thread to go on with. */
  get queue(): TargetQueue {
    return { sqEntries: this.#sqEntries, sqFlowControl: this.#sqFlowControl, sqHead: this.#sqHead };
  }

  /** Goes on with a connection that another instance has opened and on which nothing is in flight. */
  adopt(transfer: TargetTransfer, queue: TargetQueue): void {
    assert(this.#state === "waiting" && !this.isMidPdu, "A connection is adopted before anything else");
    this.#settle(transfer);
    this.setQueue(queue);
  }

  /** Connect told of the queue. Its head counts the Connect command: 1, if that was the first. */
  setQueue(queue: TargetQueue): void {
    assert(queue.sqEntries >= 1 && queue.sqHead < queue.sqEntries, "The head of a queue is one of its entries");
    this.#sqEntries = queue.sqEntries;
    this.#sqFlowControl = queue.sqFlowControl;
    this.#sqHead = queue.sqHead;
  }

  #settle(transfer: TargetTransfer): void {
    this.#transfer = transfer;
    this.#headerDigestBytes = transfer.headerDigest ? DIGEST_BYTES : 0;
    this.#dataDigestBytes = transfer.dataDigest ? DIGEST_BYTES : 0;
    this.#digestFlags = transfer.headerDigest ? PduFlag.HDGSTF : 0;
    this.#digestMask = PduFlag.HDGSTF | (transfer.dataDigest ? 0 : PduFlag.DDGSTF);
    this.#writer.settle(transfer);
    this.#state = "ready";
  }

  // ── commands up, answers down ─────────────────────────────────────────────────────────────────────────────────────

  /** A slot whose command has arrived, or whose data is complete (`commands.hasData` tells); -1 if there is none. */
  pollCommand(): number {
    if (this.#state === "failed") return -1;
    const slot = this.#arrived.shift();
    if (slot >= 0) this.commands.phase[slot] = SlotPhase.OWNED;
    return slot;
  }

  /** Asks the host for all data of the command; `pollCommand()` returns the slot again when it is in its buffer. */
  fetchData(slot: number): void {
    const commands = this.commands;
    if (!this.#takeBack(slot)) return;
    assert(commands.hasData[slot] === 0 && commands.dataBytes[slot] > 0, "Data is fetched that there is, and once");
    assert(commands.direction[slot] === TransferDirection.TO_CONTROLLER, "Data is fetched of commands that have it");
    commands.phase[slot] = SlotPhase.FETCHING;
    commands.fetched[slot] = 0;
    commands.wantsR2t[slot] = 1;
    this.#lastTag = (this.#lastTag + 1) & 0xffff;
    commands.tag[slot] = this.#lastTag;
    this.#fetches++;
    this.#fetchBytes += commands.dataBytes[slot];
    this.#sends.push(slot);
  }

  /** Answers a command without data. `status` is the 15-bit status field. */
  respond(slot: number, status: number, dw0 = 0, dw1 = 0): void {
    if (this.#takeBack(slot)) this.#answer(slot, status, dw0, dw1);
  }

  /**
   * Answers a command with success and the first `bytes` bytes of its slot's buffer, which must stay as they are until
   * the slot comes up again with another command. At most as many as its SGL names.
   */
  respondWithData(slot: number, bytes: number, dw0 = 0, dw1 = 0): void {
    if (!this.#takeBack(slot)) return;
    const { direction, dataBytes, answerBytes } = this.commands;
    assert(direction[slot] === TransferDirection.FROM_CONTROLLER, "Data goes to a host that reads");
    assert(bytes >= 0 && bytes <= dataBytes[slot], "No more data goes to a host than it has room for");
    this.#answer(slot, StatusCode.SUCCESS, dw0, dw1);
    answerBytes[slot] = bytes;
  }

  /** Frees the slot without an answer; if its data is being fetched, once that is in. */
  drop(slot: number): void {
    if (this.#state !== "failed" && this.commands.phase[slot] === SlotPhase.FETCHING) this.commands.dropped[slot] = 1;
    else if (this.#takeBack(slot)) this.commands.release(slot);
  }

  /** Takes a command from its owner; false if the connection failed, and the slot is free now. */
  #takeBack(slot: number): boolean {
    const isOwned = this.commands.phase[slot] === SlotPhase.OWNED;
    if (this.#state === "failed") {
      if (isOwned) this.commands.release(slot);
      return false;
    }
    assert(isOwned, "Only its owner answers a command, and once");
    return true;
  }

  #answer(slot: number, status: number, dw0: number, dw1: number): void {
    const commands = this.commands;
    assert(status >= 0 && status < 0x8000, "A status field has 15 bits");
    commands.phase[slot] = SlotPhase.ANSWERING;
    commands.status[slot] = status;
    commands.result0[slot] = dw0;
    commands.result1[slot] = dw1;
    commands.answerBytes[slot] = 0;
    commands.answerSent[slot] = 0;
    this.#sends.push(slot);
  }

  /** The next digest that is sent is wrong: that of the next data if data has digests, else of the next header. */
  spoilNextDigest(): void {
    this.#writer.spoilNextDigest();
  }

  // ── bytes out ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** True if there is something to send now; it is in `sendBuffer` until `handleSent()` says that all of it is sent. */
  pollSend(): boolean {
    if (this.sendBuffer.isSending || this.#state === "failed") return false;
    if (this.#owesIcResp) this.#writer.writeIcResp();
    this.#owesIcResp = false;
    const batch = this.sendBuffer;
    while (
      this.#sends.length > 0 && batch.dataBytes < BATCH_DATA_BYTES &&
      batch.hasRoom(ANSWER_HEADER_BYTES_MAX, ANSWER_SEGMENTS_MAX)
    ) this.#writeNext(this.#sends.shift());
    return batch.begin();
  }

  /**
   * True if the end of the send matters: there is more to send than it could gather, or the host may have to wait for
   * the slots that it frees.
   */
  get hasMoreToSend(): boolean {
    return this.#sends.length > 0 || this.commands.depth - this.commands.inUse < this.sendBuffer.slotCount;
  }

  #writeNext(slot: number): void {
    const commands = this.commands;
    if (commands.phase[slot] === SlotPhase.FETCHING) {
      commands.wantsR2t[slot] = 0;
      return this.#writer.writeR2t(slot);
    }
    const hasData = commands.answerBytes[slot] > 0;
    const hasResults = (commands.result0[slot] | commands.result1[slot]) !== 0;
    const isShort = hasData && !this.#sqFlowControl && !hasResults;
    if (hasData && !this.#writer.writeData(slot, isShort)) return this.#sends.push(slot);
    if (!isShort) this.#writer.writeResponse(slot, this.#sqFlowControl ? this.#sqHead : SQHD_FLOW_CONTROL_DISABLED);
    commands.phase[slot] = SlotPhase.ANSWERED;
    this.sendBuffer.finish(slot);
  }

  /** The socket took `bytes` more of what `pollSend()` offered. True if all of it is sent. */
  handleSent(bytes: number): boolean {
    if (!this.sendBuffer.handleSent(bytes)) return false;
    for (let slot = this.sendBuffer.takeSlot(); slot >= 0; slot = this.sendBuffer.takeSlot()) {
      if (this.#state !== "failed") this.commands.release(slot);
    }
    if (this.#isStalled) this.#parse();
    return true;
  }

  // ── bytes in ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Says in `receiveBuffer` where the next received bytes go. No receive may be under way. With 0 segments there is no
   * room: nothing is to be received until a send is complete.
   */
  prepareReceive(): void {
    if (this.#state === "failed") return this.receiveBuffer.close();
    this.receiveBuffer.prepare(this.#fetches > 0 && this.#fetchBytes >= LARGE_FETCH_BYTES * this.#fetches);
  }

  /** `bytes` bytes were received to where `prepareReceive()` said. */
  handleReceived(bytes: number): void {
    if (this.#state === "failed") return;
    this.receiveBuffer.handleReceived(bytes);
    this.#parse();
  }

  /** The peer closed its end. */
  handleClosed(): void {
    this.#fail("the host closed the connection", 0, 0);
  }

  /** The socket failed; `words` say how. */
  handleTransportError(words: string): void {
    this.#fail(words, 0, 0);
  }

  #parse(): void {
    this.#isStalled = false;
    while (this.#state !== "failed") {
      if (this.#stage === Stage.HEADER) {
        if (!this.#parseHeader()) break;
      } else if (this.#stage === Stage.BODY) {
        if (!this.receiveBuffer.moveBody()) break;
        if (this.#dataDigestBytes > 0) this.#stage = Stage.DIGEST;
        else this.#bodyComplete();
      } else if (!this.#parseDataDigest()) break;
    }
  }

  /** Takes one header; false if it is not complete, or has to wait. */
  #parseHeader(): boolean {
    const have = this.receiveBuffer.available;
    if (have < PDU_COMMON_HEADER_BYTES) return false;
    const at = this.receiveBuffer.at;
    const type = this.#memory[at + PduAt.TYPE];
    if (!this.#checkCommonHeader(type, at)) return false;
    const hlen = pduHlen(type);
    const isCommand = type === PduType.CapsuleCmd || type === PduType.H2CData;
    const headerBytes = isCommand ? hlen + this.#headerDigestBytes : hlen;
    const plen = this.#view.getUint32(at + PduAt.PLEN, true);
    const hasDigest = headerBytes > hlen;
    // With a digest, whatever is wrong with the header is said only once that proved it to be what was sent.
    if (!hasDigest && plen < hlen) return this.#reject(plenFault(type, plen));
    if (have < headerBytes) return false;
    if (hasDigest && !this.#checkHeaderDigest(at, hlen, type)) return false;
    if (plen < headerBytes) return this.#reject(plenFault(type, plen));
    switch (type) {
      case PduType.CapsuleCmd:
        return this.#parseCapsule(at, headerBytes, plen);
      case PduType.H2CData:
        return this.#parseH2cData(at, headerBytes, plen);
      case PduType.ICReq:
        return this.#parseIcReq(at, plen);
      default:
        return this.#parseTermReq(at, plen);
    }
  }

  /** As `commonHeaderFault()`, at no cost for what nearly always comes. */
  #checkCommonHeader(type: number, at: number): boolean {
    const flags = this.#memory[at + PduAt.FLAGS];
    const hlen = this.#memory[at + PduAt.HLEN];
    const isUsual = type === PduType.CapsuleCmd || type === PduType.H2CData;
    if (isUsual && hlen === pduHlen(type) && (flags & this.#digestMask) === this.#digestFlags) return true;
    const { headerDigest, dataDigest } = this.#transfer;
    const isWaiting = this.#state === "waiting";
    const fault = commonHeaderFault({ type, flags, hlen }, { isWaiting, headerDigest, dataDigest });
    return fault === null || this.#reject(fault);
  }

  #checkHeaderDigest(at: number, hlen: number, type: number): boolean {
    const received = this.#view.getUint32(at + hlen, true);
    if (received === (this.#crc32c(at, hlen) >>> 0)) return true;
    const words = `sent a ${pduName(type)} with a wrong header digest`;
    return this.#reject(pduFault(words, received, FatalErrorStatus.HEADER_DIGEST_ERROR));
  }

  /** The IC exchange (section 3.6.2.2). */
  #parseIcReq(at: number, plen: number): boolean {
    const view = this.#view;
    const unsupported = FatalErrorStatus.UNSUPPORTED_PARAMETER;
    if (plen !== PduHlen.ICReq) return this.#reject(plenFault(PduType.ICReq, plen));
    const pfv = view.getUint16(at + ICReqAt.PFV, true);
    if (pfv !== PFV_1_0) return this.#reject(pduFault(`wants PDU format version ${pfv}`, ICReqAt.PFV, unsupported));
    const hpda = this.#memory[at + ICReqAt.HPDA];
    if (hpda > PDA_MAX) return this.#reject(pduFault(`wants a data alignment of ${hpda + 1} dwords`, ICReqAt.HPDA));
    const asked = this.#memory[at + ICReqAt.DGST];
    this.#settle({
      headerDigest: this.#offered.header && (asked & DigestFlag.HDGST) !== 0,
      dataDigest: this.#offered.data && (asked & DigestFlag.DDGST) !== 0,
      hostDataAlignment: pduDataAlignment(hpda),
      hostR2tsMax: view.getUint32(at + ICReqAt.MAXR2T, true) + 1,
    });
    this.#owesIcResp = true;
    this.receiveBuffer.take(PduHlen.ICReq);
    return true;
  }

  /** A command (section 3.6.2.6), whose data may be in its capsule. */
  #parseCapsule(at: number, headerBytes: number, plen: number): boolean {
    const pdo = this.#memory[at + PduAt.PDO];
    const hasData = plen > headerBytes;
    if (hasData && !this.#checkDataHeader(PduType.CapsuleCmd, at, headerBytes)) return false;
    const bytes = hasData ? plen - pdo - this.#dataDigestBytes : 0;
    if (hasData && bytes <= 0) return this.#reject(plenFault(PduType.CapsuleCmd, plen));
    const sgl = at + CapsuleCmdAt.SQE + SqeAt.SGL1;
    const identifier = this.#memory[sgl + SglAt.IDENTIFIER];
    const length = this.#view.getUint32(sgl + SglAt.LENGTH, true);
    const address = this.#view.getUint32(sgl, true) | this.#view.getUint32(sgl + 4, true);
    const isNull = identifier === SglIdentifier.DATA_BLOCK_ADDRESS && length === 0;
    if (hasData && (isNull || identifier === SglIdentifier.TRANSPORT_DATA_BLOCK)) {
      return this.#reject(pduFault(`sent ${bytes} bytes in a capsule whose SGL does not name them`, PduAt.PLEN));
    }
    if (identifier === SglIdentifier.DATA_BLOCK_OFFSET && address === 0 && bytes !== length) {
      return this.#reject(pduFault(`sent ${bytes} bytes in a capsule whose SGL names ${length}`, PduAt.PLEN));
    }
    const slot = this.commands.take();
    if (slot < 0) return this.#waitForSlot();
    const isNew = this.#readCommand(slot, at + CapsuleCmdAt.SQE);
    const verdict = isNew ? judgeDataPointer(this.commands, slot, this.#limits) : StatusCode.COMMAND_ID_CONFLICT;
    this.commands.verdict[slot] = verdict;
    if (verdict === 0) this.commands.dataBytes[slot] = length;
    this.#sqHead = (this.#sqHead + 1) % this.#sqEntries;
    this.receiveBuffer.take(headerBytes);
    if (!hasData) this.#capsuleComplete(slot);
    else this.#beginBody(slot, verdict === 0 ? this.commands.dataOffset[slot] : NOWHERE, bytes, pdo - headerBytes);
    return true;
  }

  /** What a capsule with data and H2CData have in common: where the data is, and whether a digest follows. */
  #checkDataHeader(type: number, at: number, headerBytes: number): boolean {
    const pdo = this.#memory[at + PduAt.PDO];
    if (pdo < headerBytes || pdo % 4 !== 0) {
      return this.#reject(pduFault(`sent a ${pduName(type)} with its data at ${pdo}`, PduAt.PDO));
    }
    if (this.#dataDigestBytes > 0 && (this.#memory[at + PduAt.FLAGS] & PduFlag.DDGSTF) === 0) {
      return this.#reject(pduFault(`sent a ${pduName(type)} without the data digest that was agreed on`, PduAt.FLAGS));
    }
    return true;
  }

  /** A host may send a command as soon as it has an answer, before its socket has told us that the answer is sent. */
  #waitForSlot(): false {
    if (this.sendBuffer.isSending && this.sendBuffer.slotCount > 0) {
      this.#isStalled = true;
      return false;
    }
    const words = `sent more commands than the ${this.commands.depth} that its queue holds`;
    return this.#reject(pduFault(words, 0, FatalErrorStatus.PDU_SEQUENCE_ERROR));
  }

  /** Reads the queue entry into the slot; false if its CID is in flight already. */
  #readCommand(slot: number, at: number): boolean {
    const commands = this.commands;
    const sqe = commands.sqe;
    const entry = slot * SQE_DWORDS;
    for (let i = 0; i < SQE_DWORDS; i++) sqe[entry + i] = this.#view.getUint32(at + 4 * i, true);
    const opcode = sqe[entry] & 0xff;
    const cid = sqe[entry] >>> 16;
    commands.cid[slot] = cid;
    commands.direction[slot] = (opcode === FABRICS_OPCODE ? sqe[entry + 1] : opcode) & 3;
    const other = commands.find(cid);
    if (other >= 0 && commands.phase[other] !== SlotPhase.ANSWERED) return false;
    commands.name(slot, cid);
    return true;
  }

  #beginBody(slot: number, place: number, bytes: number, padding: number): void {
    this.#stage = Stage.BODY;
    this.#bodySlot = slot;
    this.#bodyPlace = place;
    this.#bodyBytes = bytes;
    this.receiveBuffer.begin(place, bytes, padding);
  }

  /** Data that an R2T asked for (section 3.6.2.8). */
  #parseH2cData(at: number, headerBytes: number, plen: number): boolean {
    const view = this.#view;
    const slot = this.#findFetch(view.getUint16(at + H2CDataAt.CCCID, true), view.getUint16(at + H2CDataAt.TTAG, true));
    if (slot < 0 || !this.#checkDataHeader(PduType.H2CData, at, headerBytes)) return false;
    const from = view.getUint32(at + H2CDataAt.DATAO, true);
    const bytes = view.getUint32(at + H2CDataAt.DATAL, true);
    const pdo = this.#memory[at + PduAt.PDO];
    if (bytes === 0) return this.#reject(pduFault("sent an H2CData without data", H2CDataAt.DATAL));
    if (plen !== pdo + bytes + this.#dataDigestBytes) {
      const words = `sent an H2CData of ${plen} bytes with ${bytes} bytes of data at ${pdo}`;
      return this.#reject(pduFault(words, PduAt.PLEN));
    }
    const isLast = (this.#memory[at + PduAt.FLAGS] & PduFlag.LAST_PDU) !== 0;
    if (!this.#checkRange(slot, from, bytes, isLast)) return false;
    this.receiveBuffer.take(headerBytes);
    this.#beginBody(slot, this.commands.dataOffset[slot] + from, bytes, pdo - headerBytes);
    return true;
  }

  /** The slot that data comes for; -1 if it was not asked for, and the connection fails. */
  #findFetch(cid: number, tag: number): number {
    const commands = this.commands;
    const slot = commands.find(cid);
    if (slot < 0 || commands.phase[slot] !== SlotPhase.FETCHING || commands.wantsR2t[slot] === 1) {
      this.#reject(pduFault(`sent data of command ${cid}, which was not asked for`, H2CDataAt.CCCID));
      return -1;
    }
    if (tag !== commands.tag[slot]) {
      const words = `sent data of command ${cid} with the tag ${tag} instead of ${commands.tag[slot]}`;
      this.#reject(pduFault(words, H2CDataAt.TTAG));
      return -1;
    }
    return slot;
  }

  /** Data comes in order, in PDUs that are not too large, and the last one says so. */
  #checkRange(slot: number, from: number, bytes: number, isLast: boolean): boolean {
    const due = this.commands.fetched[slot];
    const left = this.commands.dataBytes[slot] - due;
    if (bytes > TARGET_MAXH2CDATA) {
      const words = `sent ${bytes} bytes in one H2CData, which takes ${TARGET_MAXH2CDATA}`;
      return this.#reject(pduFault(words, 0, FatalErrorStatus.LIMIT_EXCEEDED));
    }
    if (from !== due || bytes > left) {
      const words = `sent ${bytes} bytes from ${from} on where ${left} from ${due} on were due`;
      return this.#reject(pduFault(words, 0, FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE));
    }
    if (isLast === (bytes === left)) return true;
    const words = isLast ? `sent its last data with ${left - bytes} bytes missing` : "did not say that its data ends";
    return this.#reject(pduFault(words, PduAt.FLAGS));
  }

  #parseDataDigest(): boolean {
    if (this.receiveBuffer.available < DIGEST_BYTES) return false;
    const received = this.#view.getUint32(this.receiveBuffer.at, true);
    this.receiveBuffer.take(DIGEST_BYTES);
    if (this.#bodyPlace !== NOWHERE && received !== (this.#crc32c(this.#bodyPlace, this.#bodyBytes) >>> 0)) {
      this.commands.verdict[this.#bodySlot] = StatusCode.TRANSIENT_TRANSPORT_ERROR;
    }
    this.#bodyComplete();
    return true;
  }

  #bodyComplete(): void {
    const commands = this.commands;
    const slot = this.#bodySlot;
    this.#stage = Stage.HEADER;
    this.#bodySlot = -1;
    if (commands.phase[slot] === SlotPhase.ARRIVING) {
      commands.hasData[slot] = 1;
      return this.#capsuleComplete(slot);
    }
    commands.fetched[slot] += this.#bodyBytes;
    if (commands.fetched[slot] < commands.dataBytes[slot]) return;
    this.#fetches--;
    this.#fetchBytes -= commands.dataBytes[slot];
    commands.hasData[slot] = 1;
    if (commands.dropped[slot] === 1) commands.release(slot);
    else this.#capsuleComplete(slot);
  }

  /** Everything of the command is here. */
  #capsuleComplete(slot: number): void {
    const commands = this.commands;
    if (commands.verdict[slot] !== 0) return this.#answer(slot, commands.verdict[slot], 0, 0);
    commands.phase[slot] = SlotPhase.ARRIVED;
    this.#arrived.push(slot);
  }

  #parseTermReq(at: number, plen: number): false {
    if (plen > TERM_REQ_PLEN_MAX) {
      this.#fail(`the host ended the connection with a broken H2CTermReq of ${plen} bytes`, 0, 0);
      return false;
    }
    const fes = this.#view.getUint16(at + TermReqAt.FES, true);
    const fei = this.#view.getUint32(at + TermReqAt.FEI, true);
    const words = fes === FatalErrorStatus.LIMIT_EXCEEDED ? "R2T limit exceeded" : fatalErrorWords(fes, fei);
    this.#fail(`the host ended the connection: ${words}`, 0, 0);
    return false;
  }

  // ── failure ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Fails the connection for a PDU that the protocol does not allow. Always false. */
  #reject(fault: PduFault): false {
    const { at, available } = this.receiveBuffer;
    const type = this.#memory[at + PduAt.TYPE];
    this.#offending = this.#memory.slice(at, at + offendingBytes(type, available));
    // Who says that it ends the connection is not told anything any more.
    this.#fail(`the host ${fault.words}`, type === PduType.H2CTermReq ? 0 : fault.fes, fault.fei);
    return false;
  }

  /** From here on only owners have commands. What is being sent or received may go on in the kernel. */
  #fail(reason: string, fes: number, fei: number): void {
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#failure = { reason, fes, fei };
    this.#arrived.clear();
    this.#sends.clear();
    const commands = this.commands;
    for (let slot = 0; slot < commands.depth; slot++) {
      if (commands.phase[slot] !== SlotPhase.FREE && commands.phase[slot] !== SlotPhase.OWNED) commands.release(slot);
    }
  }

  /** The C2HTermReq that tells the host of its fault (section 3.6.2.5); null if it is not to be told. */
  terminationPdu(): Uint8Array<ArrayBuffer> | null {
    const failure = this.#failure;
    if (failure === null || failure.fes === 0) return null;
    return terminationRequest(failure.fes, failure.fei, this.#offending);
  }
}
