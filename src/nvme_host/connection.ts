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
import { CqeAt } from "../protocol/nvme.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import {
  C2HDataAt,
  CapsuleRespAt,
  DIGEST_BYTES,
  fatalErrorWords,
  ICRespAt,
  PDU_COMMON_HEADER_BYTES,
  PduAt,
  pduDataAlignment,
  PduFlag,
  PduHlen,
  pduHlen,
  pduName,
  PduType,
  R2TAt,
  TERM_REQ_PLEN_MAX,
  TermReqAt,
} from "../protocol/nvme_tcp.ts";
import { CommandPhase, CommandTable, DataDirection } from "./command_table.ts";
import type { ConnectionFailure, ConnectionOptions } from "./connection_options.ts";
import { offendingBytes, PduChecks, type PduFault, sequenceFault, terminationRequest } from "./pdu_checks.ts";
import { HEADER_BYTES_MAX, PduWriter } from "./pdu_writer.ts";
import { R2tQueue } from "./r2t_queue.ts";
import { ReceiveBuffer } from "./receive_buffer.ts";
import { SendBuffer } from "./send_buffer.ts";
import type { Submission } from "./submission.ts";
import { type Crc32c, type Digests, NO_DIGESTS, type TransferParameters } from "./transfer.ts";

export type { ConnectionFailure, ConnectionOptions } from "./connection_options.ts";
export { Submission } from "./submission.ts";
export type { Digests, TransferParameters } from "./transfer.ts";

/** "opening" from `start()` until ICResp; "failed" is final. */
export type ConnectionState = "idle" | "opening" | "ready" | "failed";

/** Most pieces of one gathering send: the kernel's UIO_MAXIOV. */
const SEGMENTS_MAX = 1024;
/** A capsule may refer to one piece of data besides itself; behind the last one there may be a digest. */
export const CONNECTION_DEPTH_MAX = SEGMENTS_MAX / 2 - 1;
/** Room for headers of H2CData besides a capsule for each command. */
const H2C_HEADERS = 32;
const RECEIVE_BYTES_DEFAULT = 256 << 10;
/** Average bytes a read in flight from which reads count as large. */
const LARGE_READ_BYTES = 16 << 10;

export class Connection {
  readonly commands: CommandTable;
  readonly sendBuffer: SendBuffer;
  readonly receiveBuffer: ReceiveBuffer;

  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #writer: PduWriter;
  readonly #checks: PduChecks;
  readonly #inCapsuleBytes: number;
  readonly #completions: Fifo;
  readonly #r2ts: R2tQueue;
  #state: ConnectionState = "idle";
  #failure: ConnectionFailure | null = null;
  #offending = new Uint8Array(0);
  readonly #crc32c: Crc32c | null;
  #asked = NO_DIGESTS;
  #parameters: TransferParameters = { maxH2cDataBytes: 0, dataAlignment: 4, digests: NO_DIGESTS };
  /** Inside the data of a C2HData PDU: whose it is, how much, and what its flags say. */
  #dataCommand = -1;
  #dataBytes = 0;
  #dataFlags = 0;
  /** The data is complete and its digest is not. */
  #isDigestDue = false;
  #digestErrors = 0;
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
    this.#view = new DataView(options.memory.buffer, options.memory.byteOffset, options.memory.byteLength);
    this.#inCapsuleBytes = options.inCapsuleBytes;
    this.receiveBuffer = new ReceiveBuffer(options.memory, { offset: options.arenaOffset, bytes: receiveBytes });
    this.sendBuffer = new SendBuffer(options.memory, {
      offset: options.arenaOffset + receiveBytes,
      halfBytes: Connection.#halfBytes(options.depth),
      segmentsMax: SEGMENTS_MAX,
    });
    this.#crc32c = options.crc32c ?? null;
    const parts = { commands: this.commands, crc32c: options.crc32c ?? noCrc32c };
    this.#writer = new PduWriter(options.memory, { sendBuffer: this.sendBuffer, ...parts });
    this.#checks = new PduChecks(this.#view, { ...parts, takesShortReads: options.takesShortReads === true });
    this.#completions = new Fifo(options.depth);
    this.#r2ts = new R2tQueue(this.commands, this.#writer);
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
    return this.receiveBuffer.available > 0 || this.receiveBuffer.isInData || this.#isDigestDue;
  }

  /** What the IC exchange settled. Only in state "ready". */
  get parameters(): TransferParameters {
    assert(this.#state === "ready", "Transfer parameters are known once the connection is ready");
    return this.#parameters;
  }

  /** Begins the IC exchange (NVMe/TCP 1.0, section 3.6.2.2): one R2T at a time, and exactly these digests. */
  start(digests: Digests = NO_DIGESTS): void {
    assert(this.#state === "idle", "A connection is started once");
    assert(!(digests.header || digests.data) || this.#crc32c !== null, "Digests need the function that makes them");
    this.#asked = digests;
    this.#writer.writeIcReq(digests);
    this.#state = "opening";
  }

  /** Goes on with a connection that another instance has opened and on which nothing is in flight. */
  adopt(parameters: TransferParameters): void {
    assert(this.#state === "idle", "A connection is adopted before anything else");
    this.#settle(parameters);
  }

  #settle(parameters: TransferParameters): void {
    const { header, data } = parameters.digests;
    assert(!(header || data) || this.#crc32c !== null, "Digests need the function that makes them");
    this.#parameters = parameters;
    this.#writer.settle(parameters);
    this.#checks.settle(parameters.digests);
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
    this.#writer.writeCapsule(command, submission.sqe, inCapsule);
    if (direction === DataDirection.FROM_CONTROLLER) {
      this.#readsInFlight++;
      this.#readBytesInFlight += bytes;
    }
    return command;
  }

  /** True if there is something to send now; it is in `sendBuffer` until `handleSent()` says that all of it is sent. */
  pollSend(): boolean {
    if (this.sendBuffer.isSending || this.#state === "failed") return false;
    if (this.#r2ts.length > 0) this.#r2ts.answer();
    return this.sendBuffer.take();
  }

  /** True if there is more to send than one send could gather. */
  get hasMoreToSend(): boolean {
    return this.#r2ts.length > 0;
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

  /** Digests that were wrong since the last call. */
  takeDigestErrors(): number {
    const errors = this.#digestErrors;
    this.#digestErrors = 0;
    return errors;
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
      if (buffer.isInData) {
        if (!buffer.moveData()) break;
        this.#dataComplete();
      } else if (!(this.#isDigestDue ? this.#parseDataDigest() : this.#parsePdu())) break;
    }
    buffer.compact();
  }

  /** Takes one PDU header; false if it is not complete yet. */
  #parsePdu(): boolean {
    const have = this.receiveBuffer.available;
    if (have < PDU_COMMON_HEADER_BYTES) return false;
    const at = this.receiveBuffer.at;
    const fault = this.#checks.commonHeader(at);
    if (fault !== null) return this.#reject(fault);
    const type = this.#memory[at + PduAt.TYPE];
    const bytes = this.#checks.headerBytes(type);
    if (have < bytes) return this.#checkPlen(at);
    if (bytes > pduHlen(type) && !this.#checkHeaderDigest(at)) return false;
    if (!this.#dispatch(type, at)) return false;
    this.receiveBuffer.take(bytes);
    return true;
  }

  /** A header that cannot become right is rejected before the rest of it is waited for. Always false. */
  #checkPlen(at: number): false {
    const fault = this.#checks.plen(at);
    return fault !== null && this.#reject(fault);
  }

  #checkHeaderDigest(at: number): boolean {
    const fault = this.#checks.headerDigest(at);
    if (fault === null) return true;
    this.#digestErrors++;
    return this.#reject(fault);
  }

  #dispatch(type: number, at: number): boolean {
    if (this.#state === "opening" && type !== PduType.ICResp && type !== PduType.C2HTermReq) {
      return this.#reject(sequenceFault(`answered ICReq with a ${pduName(type)}`));
    }
    switch (type) {
      case PduType.C2HData:
        return this.#parseC2hData(at);
      case PduType.CapsuleResp:
        return this.#parseCapsuleResp(at);
      case PduType.R2T:
        return this.#parseR2t(at);
      case PduType.ICResp:
        return this.#parseIcResp(at);
      case PduType.C2HTermReq:
        return this.#parseTermReq(at);
      default:
        return this.#reject(sequenceFault(`sent a ${pduName(type)}, which only hosts send`));
    }
  }

  #parseIcResp(at: number): boolean {
    if (this.#state !== "opening") return this.#reject(sequenceFault("sent a second ICResp"));
    const fault = this.#checks.icResp(at, this.#asked);
    if (fault !== null) return this.#reject(fault);
    this.#settle({
      maxH2cDataBytes: this.#view.getUint32(at + ICRespAt.MAXH2CDATA, true),
      dataAlignment: pduDataAlignment(this.#memory[at + ICRespAt.CPDA]),
      digests: this.#asked,
    });
    return true;
  }

  #parseC2hData(at: number): boolean {
    const commands = this.commands;
    const command = this.#commandOnWire(at + C2HDataAt.CCCID);
    const fault = this.#checks.c2hData(at, command);
    if (fault !== null) return this.#reject(fault);
    const bytes = this.#view.getUint32(at + C2HDataAt.DATAL, true);
    this.#dataCommand = command;
    this.#dataBytes = bytes;
    this.#dataFlags = this.#memory[at + PduAt.FLAGS];
    const offset = commands.dataOffset[command] + commands.transferred[command];
    const padding = this.#memory[at + PduAt.PDO] - this.#checks.headerBytes(PduType.C2HData);
    this.receiveBuffer.beginData(offset, bytes, padding);
    commands.transferred[command] += bytes;
    return true;
  }

  #dataComplete(): void {
    if (this.#parameters.digests.data) this.#isDigestDue = true;
    else this.#pduComplete();
  }

  /** Wrong data is the matter of its command alone, which goes on until it is answered. */
  #parseDataDigest(): boolean {
    if (this.receiveBuffer.available < DIGEST_BYTES) return false;
    const { dataOffset, transferred, spoilt, redirected } = this.commands;
    const command = this.#dataCommand;
    const offset = dataOffset[command] + transferred[command] - this.#dataBytes;
    const received = this.#view.getUint32(this.receiveBuffer.at, true);
    this.receiveBuffer.take(DIGEST_BYTES);
    this.#isDigestDue = false;
    // What was redirected may lie in two places, and nobody wants it.
    if (redirected[command] === 0 && received !== (this.#crc32c!(offset, this.#dataBytes) >>> 0)) {
      spoilt[command] = 1;
      this.#digestErrors++;
    }
    this.#pduComplete();
    return true;
  }

  #pduComplete(): void {
    const command = this.#dataCommand;
    this.#dataCommand = -1;
    if ((this.#dataFlags & PduFlag.SUCCESS) !== 0) this.#answered(command, 0, 0, 0);
  }

  #parseCapsuleResp(at: number): boolean {
    const view = this.#view;
    const cqe = at + CapsuleRespAt.CQE;
    const command = this.#commandOnWire(cqe + CqeAt.CID);
    const fault = this.#checks.capsuleResp(at, command);
    if (fault !== null) return this.#reject(fault);
    this.#answered(
      command,
      view.getUint16(cqe + CqeAt.STATUS, true) >> 1,
      view.getUint32(cqe + CqeAt.DW0, true),
      view.getUint32(cqe + CqeAt.DW1, true),
    );
    return true;
  }

  #parseR2t(at: number): boolean {
    const view = this.#view;
    const command = this.#commandOnWire(at + R2TAt.CCCID);
    const fault = this.#checks.r2t(at, command);
    if (fault !== null) return this.#reject(fault);
    this.commands.r2tTag[command] = view.getUint16(at + R2TAt.TTAG, true);
    this.#r2ts.push(command, view.getUint32(at + R2TAt.R2TL, true));
    return true;
  }

  #parseTermReq(at: number): boolean {
    const plen = this.#view.getUint32(at + PduAt.PLEN, true);
    if (plen < PduHlen.C2HTermReq || plen > TERM_REQ_PLEN_MAX) {
      this.#fail(`the controller ended the connection with a broken C2HTermReq of ${plen} bytes`, 0, 0);
      return false;
    }
    const fes = this.#view.getUint16(at + TermReqAt.FES, true);
    const fei = this.#view.getUint32(at + TermReqAt.FEI, true);
    this.#fail(`the controller ended the connection: ${fatalErrorWords(fes, fei)}`, 0, 0);
    return false;
  }

  /**
   * The command whose CID is at `at`; -1 if it is not in flight. A peer can only know commands whose capsule was handed
   * to the socket.
   */
  #commandOnWire(at: number): number {
    const command = this.commands.find(this.#view.getUint16(at, true));
    return command >= 0 && this.commands.epoch[command] !== this.sendBuffer.epoch ? command : -1;
  }

  /**
   * Lets the data of a read in flight go to `offset`, where there is room for all of it, from now on: nothing is written
   * to where it went before. False, and nothing has changed, while a receive in the kernel may write there, or if the
   * command is answered already.
   */
  redirect(command: number, offset: number): boolean {
    const commands = this.commands;
    assert(
      commands.direction[command] === DataDirection.FROM_CONTROLLER,
      "Only what is read can be received elsewhere",
    );
    if (commands.phase[command] !== CommandPhase.ACTIVE) return false;
    const isReceiving = this.#dataCommand === command && this.receiveBuffer.isInData;
    if (isReceiving && !this.receiveBuffer.redirect(offset - commands.dataOffset[command])) return false;
    commands.dataOffset[command] = offset;
    commands.redirected[command] = 1;
    return true;
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #answered(command: number, status: number, result0: number, result1: number): void {
    const commands = this.commands;
    const isSpoilt = status === 0 && commands.spoilt[command] === 1;
    commands.status[command] = isSpoilt ? StatusCode.TRANSIENT_TRANSPORT_ERROR : status;
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
  #reject(fault: PduFault): false {
    const { at, available } = this.receiveBuffer;
    const bytes = offendingBytes(this.#memory[at + PduAt.TYPE], available);
    this.#offending = this.#memory.slice(at, at + bytes);
    this.#fail(`the controller ${fault.words}`, fault.fes, fault.fei);
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
    return terminationRequest(this.#failure.fes, this.#failure.fei, this.#offending);
  }
}

function noCrc32c(): never {
  throw new Error("A connection without digests makes none");
}
