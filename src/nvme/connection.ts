/**
 * One NVMe/TCP connection, host side: the IC exchange, PDUs in and out, and the data transfer of the commands on its
 * queue pair. Pure: bytes come in by `handleReceived()`, go out by `pollSend()`, and time comes as an argument.
 *
 *     submit() ─► capsule ─► SendBuffer ─► pollSend() ─► socket
 *     socket ─► prepareReceive() / handleReceived() ─► parse ─► pollCompletion() ─► release()
 *
 * Contract: every submitted command is given back exactly once by `pollCompletion()`, or is in flight when the state
 * becomes "failed". Bytes from the peer are never asserted on: what breaks the protocol fails the connection with a
 * reason in words, and nothing is ever written outside the data buffer of the command that asked for it.
 */
import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import { CqeAt, SglIdentifier, SQE_BYTES, SQE_FLAGS_PSDT_SGL } from "../spec/nvme.ts";
import {
  C2HDataAt,
  CapsuleRespAt,
  FatalErrorStatus,
  fatalErrorWords,
  ICReqAt,
  ICRespAt,
  MAXH2CDATA_MIN,
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
  R2TAt,
  TERM_REQ_DATA_BYTES_MAX,
  TERM_REQ_PLEN_MAX,
  TermReqAt,
} from "../spec/nvme_tcp.ts";
import { CommandPhase, CommandTable, DataDirection } from "./command_table.ts";
import { ReceiveBuffer } from "./receive_buffer.ts";
import { SendBuffer } from "./send_buffer.ts";

/** "opening" from `start()` until ICResp; "failed" is final. */
export type ConnectionState = "idle" | "opening" | "ready" | "failed";

/** What the IC exchange settled; enough for another thread to go on with the connection. */
export interface TransferParameters {
  /** Most bytes in one H2CData PDU. */
  readonly maxH2cDataBytes: number;
  /** Alignment of data in PDUs to the controller, in bytes. */
  readonly dataAlignment: number;
}

/** One command to submit. Made once and filled again for each use. */
export class Submission {
  /** The submission queue entry as 16 dwords. The connection fills in the CID and the data pointer. */
  readonly sqe: Uint32Array = new Uint32Array(SQE_BYTES / 4);
  /** One of {@linkcode DataDirection}. */
  direction: number = DataDirection.NONE;
  /** The data in the arena. */
  dataOffset = 0;
  dataBytes = 0;
  /** A number of the submitter's, given back with the answer. */
  owner = 0;
}

/** Why a connection failed. */
export interface ConnectionFailure {
  /** In words, for people. */
  readonly reason: string;
  /** Fatal error status for the termination request; 0 if the peer is not to be told. */
  readonly fes: number;
  /** Fatal error information: a byte of the offending header. */
  readonly fei: number;
}

export interface ConnectionOptions {
  /** The arena: data buffers of the commands, and the connection's own part of it. */
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Where the connection's own part begins; `Connection.arenaBytes()` long, aligned to 8. */
  readonly arenaOffset: number;
  /** Command slots: at most one less than the queue's size. */
  readonly depth: number;
  /** Data that may travel in a command capsule, in bytes. */
  readonly inCapsuleBytes: number;
  /** Size of the receive buffer in bytes. */
  readonly receiveBytes?: number;
}

/** Most pieces of one gathering send: the kernel's UIO_MAXIOV. */
const SEGMENTS_MAX = 1024;
/** A capsule may refer to one piece of data besides itself. */
export const CONNECTION_DEPTH_MAX = SEGMENTS_MAX / 2 - 1;
/** Header bytes a PDU takes at most: PDO is at most 128 for every alignment that CPDA can ask for. */
const HEADER_BYTES_MAX = 128;
/** Room for headers of H2CData besides a capsule for each command. */
const H2C_HEADERS = 32;
/** No send carries much more R2T data than this, so that a new command never waits behind all data of all writes. */
const SEND_BYTES_SOFT_MAX = 1 << 20;
/** Flags of digests, which `start()` never asks for. */
const DIGEST_FLAGS = PduFlag.HDGSTF | PduFlag.DDGSTF;
const RECEIVE_BYTES_DEFAULT = 256 << 10;
/** Average bytes a read in flight from which reads count as large. */
const LARGE_READ_BYTES = 16 << 10;

export class Connection {
  readonly commands: CommandTable;
  readonly sendBuffer: SendBuffer;
  readonly receiveBuffer: ReceiveBuffer;

  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #view: DataView;
  readonly #inCapsuleBytes: number;
  readonly #completions: Fifo;
  readonly #r2tCommands: Fifo;
  #state: ConnectionState = "idle";
  #failure: ConnectionFailure | null = null;
  #offending = new Uint8Array(0);
  #capsulePdo: number = PduHlen.CapsuleCmd;
  #h2cPdo: number = PduHlen.H2CData;
  #maxH2cDataBytes = 0;
  #dataAlignment = 4;
  /** Inside the data of a C2HData PDU: whose it is, and what its flags say. */
  #dataCommand = -1;
  #dataFlags = 0;
  #readsInFlight = 0;
  #readBytesInFlight = 0;

  /** Bytes of arena that a connection of that depth takes for itself. */
  static arenaBytes(depth: number, receiveBytes = RECEIVE_BYTES_DEFAULT): number {
    return receiveBytes + SendBuffer.arenaBytes(Connection.#halfBytes(depth));
  }

  static #halfBytes(depth: number): number {
    return (depth + H2C_HEADERS) * HEADER_BYTES_MAX + TERM_REQ_PLEN_MAX;
  }

  constructor(options: ConnectionOptions) {
    assert(options.depth <= CONNECTION_DEPTH_MAX, "A connection's depth is bounded by what one send can gather");
    const receiveBytes = options.receiveBytes ?? RECEIVE_BYTES_DEFAULT;
    this.commands = new CommandTable(options.depth);
    this.#memory = options.memory;
    this.#words = new Uint32Array(options.memory.buffer, options.memory.byteOffset, options.memory.byteLength >> 2);
    this.#view = new DataView(options.memory.buffer, options.memory.byteOffset, options.memory.byteLength);
    this.#inCapsuleBytes = options.inCapsuleBytes;
    this.receiveBuffer = new ReceiveBuffer(options.memory, { offset: options.arenaOffset, bytes: receiveBytes });
    this.sendBuffer = new SendBuffer(options.memory, {
      offset: options.arenaOffset + receiveBytes,
      halfBytes: Connection.#halfBytes(options.depth),
      segmentsMax: SEGMENTS_MAX,
    });
    this.#completions = new Fifo(options.depth);
    this.#r2tCommands = new Fifo(options.depth);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Why the state is "failed"; null otherwise. */
  get failure(): ConnectionFailure | null {
    return this.#failure;
  }

  /** Commands without an answer, or whose answer was not taken. */
  get inFlight(): number {
    return this.commands.inUse;
  }

  /** True if bytes were received that belong to no complete PDU yet. */
  get isMidPdu(): boolean {
    return this.receiveBuffer.available > 0 || this.receiveBuffer.isInData;
  }

  /** What the IC exchange settled. Only in state "ready". */
  get parameters(): TransferParameters {
    assert(this.#state === "ready", "Transfer parameters are known once the connection is ready");
    return { maxH2cDataBytes: this.#maxH2cDataBytes, dataAlignment: this.#dataAlignment };
  }

  /** Begins the IC exchange (NVMe/TCP 1.0, section 3.6.2.2): no digests, one R2T at a time. */
  start(): void {
    assert(this.#state === "idle", "A connection is started once");
    const at = this.sendBuffer.header(PduHlen.ICReq);
    this.#memory[at + PduAt.TYPE] = PduType.ICReq;
    this.#memory[at + PduAt.HLEN] = PduHlen.ICReq;
    this.#view.setUint32(at + PduAt.PLEN, PduHlen.ICReq, true);
    this.#view.setUint16(at + ICReqAt.PFV, PFV_1_0, true);
    this.#state = "opening";
  }

  /** Goes on with a connection that another instance has opened and on which nothing is in flight. */
  adopt(parameters: TransferParameters): void {
    assert(this.#state === "idle", "A connection is adopted before anything else");
    this.#settle(parameters);
  }

  #settle(parameters: TransferParameters): void {
    this.#maxH2cDataBytes = parameters.maxH2cDataBytes;
    this.#dataAlignment = parameters.dataAlignment;
    this.#capsulePdo = alignUp(PduHlen.CapsuleCmd, parameters.dataAlignment);
    this.#h2cPdo = alignUp(PduHlen.H2CData, parameters.dataAlignment);
    this.#state = "ready";
  }

  // ── commands out ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Submits a command; its slot, or -1 if every slot is in use. Only in state "ready". */
  submit(submission: Submission, nowMs: number): number {
    assert(this.#state === "ready", "Commands are submitted to connections that are ready");
    const hasDirection = submission.direction !== DataDirection.NONE;
    assert(submission.dataBytes > 0 === hasDirection, "A command has data if and only if it has a direction");
    const commands = this.commands;
    const command = commands.allocate();
    if (command < 0) return -1;
    const bytes = submission.dataBytes;
    const direction = submission.direction;
    commands.direction[command] = direction;
    commands.dataOffset[command] = submission.dataOffset;
    commands.dataBytes[command] = bytes;
    commands.owner[command] = submission.owner;
    commands.submittedAtMs[command] = nowMs;
    commands.epoch[command] = this.sendBuffer.epoch;
    commands.r2tBytes[command] = 0;
    const inCapsule = direction === DataDirection.TO_CONTROLLER && bytes <= this.#inCapsuleBytes;
    commands.transferred[command] = inCapsule ? bytes : 0;
    this.#writeCapsule(submission.sqe, command, inCapsule);
    if (inCapsule) {
      commands.sends[command]++;
      this.sendBuffer.data(submission.dataOffset, bytes, command);
    } else if (direction === DataDirection.FROM_CONTROLLER) {
      this.#readsInFlight++;
      this.#readBytesInFlight += bytes;
    }
    return command;
  }

  #writeCapsule(sqe: Uint32Array, command: number, inCapsule: boolean): void {
    const commands = this.commands;
    const bytes = commands.dataBytes[command];
    const headerBytes = inCapsule ? this.#capsulePdo : PduHlen.CapsuleCmd;
    const at = this.sendBuffer.header(headerBytes) >> 2;
    const words = this.#words;
    words[at] = PduType.CapsuleCmd | (PduHlen.CapsuleCmd << 16) | ((inCapsule ? headerBytes : 0) << 24);
    words[at + 1] = inCapsule ? headerBytes + bytes : headerBytes;
    const entry = at + 2;
    for (let i = 0; i < 16; i++) words[entry + i] = sqe[i];
    words[entry] = (sqe[0] & 0xffff) | (SQE_FLAGS_PSDT_SGL << 8) | (commands.cid[command] << 16);
    words[entry + 6] = 0;
    words[entry + 7] = 0;
    words[entry + 8] = bytes;
    words[entry + 9] = (inCapsule ? SglIdentifier.DATA_BLOCK_OFFSET : SglIdentifier.TRANSPORT_DATA_BLOCK) << 24;
    if (commands.direction[command] === DataDirection.NONE) words[entry + 9] = 0;
  }

  /** True if there is something to send now; it is in `sendBuffer` until `handleSent()` says that all of it is sent. */
  pollSend(): boolean {
    if (this.sendBuffer.isSending || this.#state === "failed") return false;
    if (this.#r2tCommands.length > 0) this.#answerR2ts();
    return this.sendBuffer.take();
  }

  /** True if there is more to send than one send could gather. */
  get hasMoreToSend(): boolean {
    return this.#r2tCommands.length > 0;
  }

  #answerR2ts(): void {
    const commands = this.commands;
    let written = 0;
    for (let command = this.#r2tCommands.peek(); command >= 0; command = this.#r2tCommands.peek()) {
      while (commands.r2tBytes[command] > 0) {
        if (!this.sendBuffer.hasRoom(HEADER_BYTES_MAX) || written > SEND_BYTES_SOFT_MAX) return;
        written += this.#writeH2cData(command);
      }
      commands.r2tQueued[command] = 0;
      this.#r2tCommands.shift();
    }
  }

  /** Answers as much of the command's R2T as one PDU may carry: so many bytes. */
  #writeH2cData(command: number): number {
    const commands = this.commands;
    const bytes = Math.min(commands.r2tBytes[command], this.#maxH2cDataBytes);
    const offset = commands.r2tOffset[command];
    const isLast = bytes === commands.r2tBytes[command];
    const at = this.sendBuffer.header(this.#h2cPdo) >> 2;
    const words = this.#words;
    const flags = isLast ? PduFlag.LAST_PDU : 0;
    words[at] = PduType.H2CData | (flags << 8) | (PduHlen.H2CData << 16) | (this.#h2cPdo << 24);
    words[at + 1] = this.#h2cPdo + bytes;
    words[at + 2] = commands.cid[command] | (commands.r2tTag[command] << 16);
    words[at + 3] = offset;
    words[at + 4] = bytes;
    this.sendBuffer.data(commands.dataOffset[command] + offset, bytes, command);
    commands.sends[command]++;
    commands.r2tOffset[command] = offset + bytes;
    commands.r2tBytes[command] -= bytes;
    return bytes;
  }

  /** The socket took `bytes` more of what `pollSend()` offered. True if all of it is sent. */
  handleSent(bytes: number): boolean {
    if (!this.sendBuffer.handleSent(bytes)) return false;
    const commands = this.commands;
    for (let c = this.sendBuffer.takeReference(); c >= 0; c = this.sendBuffer.takeReference()) {
      commands.sends[c]--;
      if (commands.sends[c] === 0 && commands.phase[c] === CommandPhase.ANSWERED) this.#done(c);
    }
    return true;
  }

  // ── bytes in ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Says in `receiveBuffer` where the next received bytes go. */
  prepareReceive(): void {
    const reads = this.#readsInFlight;
    this.receiveBuffer.prepare(reads > 0 && this.#readBytesInFlight >= LARGE_READ_BYTES * reads);
  }

  /** `bytes` bytes were received to where `prepareReceive()` said. */
  handleReceived(bytes: number): void {
    if (this.receiveBuffer.handleReceived(bytes)) this.#dataComplete();
    this.#parse();
  }

  /** The peer closed its end. */
  handleClosed(): void {
    this.#fail("the controller closed the connection", 0, 0);
  }

  /** The socket failed; `words` say how. */
  handleTransportError(words: string): void {
    this.#fail(words, 0, 0);
  }

  #parse(): void {
    const buffer = this.receiveBuffer;
    while (this.#state !== "failed") {
      if (!buffer.isInData) {
        if (!this.#parsePdu()) break;
      } else if (buffer.moveData()) this.#dataComplete();
      else break;
    }
    buffer.compact();
  }

  /** Takes one PDU header; false if it is not complete yet. */
  #parsePdu(): boolean {
    const have = this.receiveBuffer.available;
    if (have < PDU_COMMON_HEADER_BYTES) return false;
    const at = this.receiveBuffer.at;
    const type = this.#memory[at + PduAt.TYPE];
    const hlen = this.#memory[at + PduAt.HLEN];
    const expected = pduHlen(type);
    if (expected === 0) return this.#reject(`sent a ${pduName(type)}`, PduAt.TYPE);
    if (hlen !== expected) return this.#reject(`sent a ${pduName(type)} with a header of ${hlen} bytes`, PduAt.HLEN);
    if ((this.#memory[at + PduAt.FLAGS] & DIGEST_FLAGS) !== 0 && type !== PduType.C2HTermReq) {
      return this.#reject(`sent a ${pduName(type)} with a digest, which was not agreed on`, PduAt.FLAGS);
    }
    if (have < hlen) return this.#checkPlen(type, at);
    const plen = this.#view.getUint32(at + PduAt.PLEN, true);
    if (!this.#dispatch(type, at, plen)) return false;
    this.receiveBuffer.take(hlen);
    return true;
  }

  /** A header that cannot become right is rejected before the rest of it is waited for. Always false. */
  #checkPlen(type: number, at: number): false {
    const plen = this.#view.getUint32(at + PduAt.PLEN, true);
    if (plen < pduHlen(type)) return this.#reject(`sent a ${pduName(type)} of ${plen} bytes`, PduAt.PLEN);
    return false;
  }

  #dispatch(type: number, at: number, plen: number): boolean {
    if (this.#state === "opening" && type !== PduType.ICResp && type !== PduType.C2HTermReq) {
      return this.#reject(`answered ICReq with a ${pduName(type)}`, PduAt.TYPE, FatalErrorStatus.PDU_SEQUENCE_ERROR);
    }
    switch (type) {
      case PduType.C2HData:
        return this.#parseC2hData(at, plen);
      case PduType.CapsuleResp:
        return this.#parseCapsuleResp(at, plen);
      case PduType.R2T:
        return this.#parseR2t(at, plen);
      case PduType.ICResp:
        return this.#parseIcResp(at, plen);
      case PduType.C2HTermReq:
        return this.#parseTermReq(at, plen);
      default:
        return this.#reject(
          `sent a ${pduName(type)}, which only hosts send`,
          PduAt.TYPE,
          FatalErrorStatus.PDU_SEQUENCE_ERROR,
        );
    }
  }

  #parseIcResp(at: number, plen: number): boolean {
    const view = this.#view;
    const unsupported = FatalErrorStatus.UNSUPPORTED_PARAMETER;
    if (this.#state !== "opening") return this.#reject("sent a second ICResp", 0, FatalErrorStatus.PDU_SEQUENCE_ERROR);
    if (plen !== PduHlen.ICResp) return this.#reject(`sent an ICResp of ${plen} bytes`, PduAt.PLEN);
    const pfv = view.getUint16(at + ICRespAt.PFV, true);
    if (pfv !== PFV_1_0) return this.#reject(`wants PDU format version ${pfv}`, ICRespAt.PFV, unsupported);
    const cpda = this.#memory[at + ICRespAt.CPDA];
    if (cpda > PDA_MAX) return this.#reject(`wants a data alignment of ${cpda + 1} dwords`, ICRespAt.CPDA);
    const digests = this.#memory[at + ICRespAt.DGST];
    if (digests !== 0) return this.#reject("switched digests on that were not asked for", ICRespAt.DGST, unsupported);
    const maxH2cDataBytes = view.getUint32(at + ICRespAt.MAXH2CDATA, true);
    if (maxH2cDataBytes < MAXH2CDATA_MIN || maxH2cDataBytes % 4 !== 0) {
      return this.#reject(`gives MAXH2CDATA ${maxH2cDataBytes}`, ICRespAt.MAXH2CDATA);
    }
    this.#settle({ maxH2cDataBytes, dataAlignment: pduDataAlignment(cpda) });
    return true;
  }

  #parseC2hData(at: number, plen: number): boolean {
    const view = this.#view;
    const commands = this.commands;
    const cid = view.getUint16(at + C2HDataAt.CCCID, true);
    const command = commands.find(cid);
    const offset = view.getUint32(at + C2HDataAt.DATAO, true);
    const bytes = view.getUint32(at + C2HDataAt.DATAL, true);
    const pdo = this.#memory[at + PduAt.PDO];
    const flags = this.#memory[at + PduAt.FLAGS];
    if (command < 0 || !this.#isOnWire(command) || commands.direction[command] !== DataDirection.FROM_CONTROLLER) {
      return this.#reject(`sent data for command ${cid}, which reads nothing`, C2HDataAt.CCCID);
    }
    if (pdo < PduHlen.C2HData || pdo % 4 !== 0 || plen !== pdo + bytes) {
      return this.#reject(`sent a C2HData of ${plen} bytes with ${bytes} bytes of data at ${pdo}`, PduAt.PLEN);
    }
    const wanted = commands.dataBytes[command] - commands.transferred[command];
    if (offset !== commands.transferred[command] || bytes === 0 || bytes > wanted) {
      const outOfRange = FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE;
      const expected = `${wanted} bytes from ${commands.transferred[command]} on`;
      return this.#reject(`sent ${bytes} bytes from ${offset} on where ${expected} were due`, 0, outOfRange);
    }
    if ((flags & PduFlag.LAST_PDU) !== 0 && bytes !== wanted) {
      return this.#reject(`sent its last data with ${wanted - bytes} bytes missing`, PduAt.FLAGS);
    }
    if ((flags & (PduFlag.LAST_PDU | PduFlag.SUCCESS)) === PduFlag.SUCCESS) {
      return this.#reject("sent SUCCESS with data that is not the last", PduAt.FLAGS);
    }
    this.#dataCommand = command;
    this.#dataFlags = flags;
    this.receiveBuffer.beginData(commands.dataOffset[command] + offset, bytes, pdo - PduHlen.C2HData);
    commands.transferred[command] += bytes;
    return true;
  }

  #dataComplete(): void {
    const command = this.#dataCommand;
    this.#dataCommand = -1;
    if ((this.#dataFlags & PduFlag.SUCCESS) !== 0) this.#answered(command, 0, 0, 0);
  }

  #parseCapsuleResp(at: number, plen: number): boolean {
    const view = this.#view;
    const commands = this.commands;
    if (plen !== PduHlen.CapsuleResp) return this.#reject(`sent a CapsuleResp of ${plen} bytes`, PduAt.PLEN);
    const cqe = at + CapsuleRespAt.CQE;
    const cid = view.getUint16(cqe + CqeAt.CID, true);
    const command = commands.find(cid);
    if (command < 0 || !this.#isOnWire(command)) {
      return this.#reject(`answered command ${cid}, which is not in flight`, CapsuleRespAt.CQE + CqeAt.CID);
    }
    const status = view.getUint16(cqe + CqeAt.STATUS, true) >> 1;
    // What an R2T asked for counts as transferred once it is in a send.
    const unsent = commands.r2tBytes[command];
    const missing = commands.dataBytes[command] - commands.transferred[command] + unsent;
    if (status === 0 && missing > 0) {
      return this.#reject(`told success with ${missing} bytes not transferred`, 0, FatalErrorStatus.PDU_SEQUENCE_ERROR);
    }
    this.#answered(
      command,
      status,
      view.getUint32(cqe + CqeAt.DW0, true),
      view.getUint32(cqe + CqeAt.DW1, true),
    );
    return true;
  }

  #parseR2t(at: number, plen: number): boolean {
    const view = this.#view;
    const commands = this.commands;
    if (plen !== PduHlen.R2T) return this.#reject(`sent an R2T of ${plen} bytes`, PduAt.PLEN);
    const cid = view.getUint16(at + R2TAt.CCCID, true);
    const command = commands.find(cid);
    if (command < 0 || !this.#isOnWire(command) || commands.direction[command] !== DataDirection.TO_CONTROLLER) {
      return this.#reject(`asked for data of command ${cid}, which writes nothing`, R2TAt.CCCID);
    }
    if (commands.r2tBytes[command] > 0) {
      return this.#reject("sent an R2T before the last one was answered", 0, FatalErrorStatus.LIMIT_EXCEEDED);
    }
    const offset = view.getUint32(at + R2TAt.R2TO, true);
    const bytes = view.getUint32(at + R2TAt.R2TL, true);
    const left = commands.dataBytes[command] - commands.transferred[command];
    if (bytes === 0 || offset !== commands.transferred[command] || bytes > left) {
      const outOfRange = FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE;
      const due = `${left} from ${commands.transferred[command]} on`;
      return this.#reject(`asked for ${bytes} bytes from ${offset} on where ${due} are left`, R2TAt.R2TO, outOfRange);
    }
    commands.transferred[command] += bytes;
    commands.r2tOffset[command] = offset;
    commands.r2tBytes[command] = bytes;
    commands.r2tTag[command] = view.getUint16(at + R2TAt.TTAG, true);
    if (commands.r2tQueued[command] === 0) {
      commands.r2tQueued[command] = 1;
      this.#r2tCommands.push(command);
    }
    return true;
  }

  #parseTermReq(at: number, plen: number): boolean {
    if (plen < PduHlen.C2HTermReq || plen > TERM_REQ_PLEN_MAX) {
      this.#fail(`the controller ended the connection with a broken C2HTermReq of ${plen} bytes`, 0, 0);
      return false;
    }
    const fes = this.#view.getUint16(at + TermReqAt.FES, true);
    const fei = this.#view.getUint32(at + TermReqAt.FEI, true);
    this.#fail(`the controller ended the connection: ${fatalErrorWords(fes, fei)}`, 0, 0);
    return false;
  }

  /** A peer can only know commands whose capsule was handed to the socket. */
  #isOnWire(command: number): boolean {
    return this.commands.epoch[command] !== this.sendBuffer.epoch;
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #answered(command: number, status: number, result0: number, result1: number): void {
    const commands = this.commands;
    commands.status[command] = status;
    commands.result0[command] = result0;
    commands.result1[command] = result1;
    commands.r2tBytes[command] = 0;
    if (commands.direction[command] === DataDirection.FROM_CONTROLLER) {
      this.#readsInFlight--;
      this.#readBytesInFlight -= commands.dataBytes[command];
    }
    if (commands.sends[command] > 0) commands.phase[command] = CommandPhase.ANSWERED;
    else this.#done(command);
  }

  #done(command: number): void {
    this.commands.phase[command] = CommandPhase.DONE;
    this.#completions.push(command);
  }

  /** A command that is answered: its slot, whose fields stay until `release()`; -1 if there is none. */
  pollCompletion(): number {
    return this.#completions.shift();
  }

  release(command: number): void {
    this.commands.release(command);
  }

  /** The socket is closed and no send reads any data now: what was answered meanwhile is answered. */
  handleQuiet(): void {
    for (let command = 0; command < this.commands.depth; command++) {
      if (this.commands.phase[command] === CommandPhase.ANSWERED) this.#done(command);
    }
  }

  // ── failure ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Fails the connection for a PDU that the protocol does not allow. Always false. */
  #reject(words: string, fei: number, fes: number = FatalErrorStatus.INVALID_PDU_HEADER_FIELD): false {
    const { at, available } = this.receiveBuffer;
    const hlen = pduHlen(this.#memory[at + PduAt.TYPE]) || PDU_COMMON_HEADER_BYTES;
    const length = Math.min(available, TERM_REQ_DATA_BYTES_MAX, hlen);
    this.#offending = this.#memory.slice(at, at + length);
    this.#fail(`the controller ${words}`, fes, fei);
    return false;
  }

  #fail(reason: string, fes: number, fei: number): void {
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#failure = { reason, fes, fei };
  }

  /** The H2CTermReq that tells the peer of its fault (section 3.6.2.4); null if it is not to be told. */
  terminationPdu(): Uint8Array<ArrayBuffer> | null {
    if (this.#failure === null || this.#failure.fes === 0) return null;
    const pdu = new Uint8Array(PduHlen.H2CTermReq + this.#offending.length);
    const view = new DataView(pdu.buffer);
    pdu[PduAt.TYPE] = PduType.H2CTermReq;
    pdu[PduAt.HLEN] = PduHlen.H2CTermReq;
    view.setUint32(PduAt.PLEN, pdu.length, true);
    view.setUint16(TermReqAt.FES, this.#failure.fes, true);
    view.setUint32(TermReqAt.FEI, this.#failure.fei, true);
    pdu.set(this.#offending, TermReqAt.DATA);
    return pdu;
  }
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
