/**
 * An NVMe/TCP target over real loopback TCP, with its namespace in memory, for tests: as many portals as are wanted, each
 * of which can be made to misbehave while it runs. It shares only `src/protocol` with the product.
 *
 *     await using target = FakeTarget.start({ portals: 2 });
 *     target.portals[1].fault = { at: "identify controller", how: "stall" };
 */
import {
  AdminOpcode,
  AsyncEventConfig,
  AsyncEventType,
  AsyncNotice,
  CqeAt,
  DsmRangeAt,
  FABRICS_OPCODE,
  FabricsType,
  FeatureId,
  LogId,
  NvmOpcode,
  RwCdw12,
  SglAt,
  SglIdentifier,
  SQE_FCTYPE_AT,
  SqeAt,
} from "../../../src/protocol/nvme.ts";
import { ConnectAt, ConnectDataAt, ConnectInvalidDw0, PropertyCommandAt } from "../../../src/protocol/nvme_fabrics.ts";
import {
  Cmic,
  IDENTIFY_BYTES,
  IdentifyCns,
  IdentifyControllerAt,
  IdentifyNamespaceAt,
  NamespaceDescriptorAt,
  NamespaceIdType,
  Oncs,
} from "../../../src/protocol/nvme_identify.ts";
import { ANA_LSP_RGO, AnaGroupAt, AnaLogAt, AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { Cc, Csts, CstsShst, PropertyAt } from "../../../src/protocol/nvme_property.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import {
  C2HDataAt,
  CapsuleCmdAt,
  CapsuleRespAt,
  H2CDataAt,
  ICRespAt,
  PduAt,
  PduFlag,
  PduHlen,
  PduType,
  R2TAt,
} from "../../../src/protocol/nvme_tcp.ts";

/** What a portal does for a host, in the order in which a host asks; a {@linkcode Fault} happens at one of them. */
export const STEPS = [
  "icresp",
  "connect",
  "read CAP",
  "read VS",
  "read CC",
  "write CC",
  "read CSTS",
  "identify controller",
  "identify NVM controller",
  "set number of queues",
  "identify active namespaces",
  "identify namespace",
  "identify descriptors",
  "set asynchronous events",
  "read ANA log",
  "io icresp",
  "io connect",
] as const;

/** One of {@linkcode STEPS}, or what comes when the host is up. */
export type Step = (typeof STEPS)[number] | "keep alive" | "asynchronous event request" | "io";

/** "stall": nothing more is said on that connection; "close": it ends; "garbage": it gets bytes that are no PDU. */
export interface Fault {
  at: Step;
  how: "stall" | "close" | "garbage";
}

export const NQN = "nqn.2026-11.io.test:vol";
const BLOCK_BYTES = 512;
const PORT = 4420;
const UUID = "5a3c1c1e-0000-4000-8000-000000000001";
const SUCCESS = 0;
const ANA_CHANGED = noticeOf(AsyncNotice.ANA_CHANGE, LogId.ASYMMETRIC_NAMESPACE_ACCESS);
const NAMESPACE_CHANGED = noticeOf(AsyncNotice.NAMESPACE_ATTRIBUTE_CHANGED, LogId.CHANGED_NAMESPACE_LIST);
const NO_SUCH_HOST = StatusCode.CONNECT_INVALID_HOST | StatusField.DNR;

export interface FakeTargetOptions {
  portals?: number;
  blocks?: number;
}

/** A namespace in memory and the portals that lead to it. */
export class FakeTarget implements AsyncDisposable {
  readonly portals: FakePortal[];
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Controllers that were made so far; the last one's ID. */
  controllers = 0;

  private constructor(options: FakeTargetOptions) {
    this.memory = new Uint8Array((options.blocks ?? 2048) * BLOCK_BYTES);
    // Addresses of its own, on a port that no connection is given as its source: a host that tries a stopped portal
    // again and again would otherwise meet itself in the end.
    const random = crypto.getRandomValues(new Uint8Array(2));
    const network = `127.${16 + random[0] % 200}.${random[1]}`;
    this.portals = Array.from({ length: options.portals ?? 2 }, (_, i) => new FakePortal(this, `${network}.${i + 1}`));
  }

  /** Listens on all portals. */
  static start(options: FakeTargetOptions = {}): FakeTarget {
    const target = new FakeTarget(options);
    for (const portal of target.portals) portal.start();
    return target;
  }

  get blocks(): number {
    return this.memory.length / BLOCK_BYTES;
  }

  /** TCP connections that are open now, over all portals. */
  get connections(): number {
    return this.portals.reduce((sum, portal) => sum + portal.connections.size, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.portals.map((portal) => portal.stop()));
  }
}

/** One address of the target. What it does can be changed at any time and holds from then on. */
export class FakePortal {
  readonly address: string;
  readonly target: FakeTarget;
  readonly connections = new Set<FakeConnection>();
  /** How often each step was asked for. */
  readonly seen = new Map<Step, number>();
  /** Controllers of hosts that are connected here, by their ID. */
  readonly controllers = new Map<number, FakeControllerState>();

  fault: Fault | null = null;
  /** Ends the command of a step with this status, so many times. */
  adminStatus: { step: Step; status: number; times: number } | null = null;
  nqn = NQN;
  nsid = 1;
  uuid = UUID;
  /** Of the subsystem behind it: portals that differ are two targets with one name. */
  serial = "FAKE0001";
  /** The ID of its controllers; null: as the target counts them. */
  cntlid: number | null = null;
  refusesHosts = false;
  /** It takes no Connect with an attribute. */
  refusesAttributes = false;
  /** What each Connect is answered with, if it is refused. */
  connectRefusal: { status: number; result0: number } | null = null;
  queuesMax = 16;
  /** Logs end where there is nothing more in them, though more was asked for. */
  endsLogs = false;
  /** I/O queues that it grants and does not let anybody connect. */
  readonly refusedQueues = new Set<number>();
  mqes = 127;
  /** Units of 16 bytes beyond which data does not travel in a capsule. */
  inCapsuleBytes = 8192;
  /** Bytes that one R2T asks for. */
  r2tBytes = 16384;
  /** Bytes in one C2HData. */
  c2hDataBytes = 8192;
  /** The last C2HData says SUCCESS instead of a response of its own. */
  c2hSuccess = false;
  becomesReady = true;
  /** How long every answer to a Fabrics or admin command takes. */
  adminDelayMs = 0;
  answersKeepAlives = true;
  /** How long the answer to a keep-alive takes. */
  keepAliveDelayMs = 0;
  answersIo = true;
  /** An `AnaStateCode`, or null for a portal that does not report ANA. */
  ana: number | null = null;
  /** The longest that an ANA transition takes, in seconds, as the portal says. */
  anaTransitionSeconds = 10;
  /** What a portal that is a discovery service gives as its log: its `nqn` is that of discovery then. */
  discoveryLog: Uint8Array | null = null;
  /** Blocks that it shows; null: as many as the target has. */
  blocks: number | null = null;
  /** How long its controllers take to end all commands of a host that is lost, as they say; 0: they do not. */
  quiesceMs = 0;
  /** It shows the namespace write protected. */
  isProtected = false;
  /** Shift of the block size that it shows. */
  blockShift = 9;
  /** Answers Asynchronous Event Requests at once, over and over. */
  repeatsEvents = false;
  /** Ends Asynchronous Event Requests at once with this status; 0: it does not. */
  eventStatus = 0;
  /** Offers to tell events. */
  hasEvents = true;
  /** Log pages that were read, by their ID. */
  readonly logsRead = new Set<number>();
  /** Changes the ANA log before it is sent. */
  spoilAnaLog: (log: Uint8Array) => void = () => {};
  /** The ANA group of the namespace, as Identify says, and whether the log lists namespaces. */
  anaGroup = 1;
  /** Namespaces that the portal says there may be. */
  namespacesMax = 16;

  #listener: Deno.TcpListener | null = null;
  #accepting: Promise<void> = Promise.resolve();

  constructor(target: FakeTarget, address: string) {
    this.target = target;
    this.address = address;
  }

  /** As the command line names it. */
  get words(): string {
    return `${this.address}:${PORT}`;
  }

  /** As the daemon's API names it. */
  get spec() {
    return { transport: "tcp" as const, traddr: this.address, trsvcid: PORT, hostTraddr: null, hostIface: null };
  }

  /** Addresses that the connections which are open now come from. */
  get peers(): string[] {
    return [...this.connections].map((connection) => connection.peer);
  }

  /** I/O queues that are connected now. */
  get ioQueues(): number {
    return [...this.connections].filter((connection) => connection.qid > 0).length;
  }

  count(step: Step): number {
    return this.seen.get(step) ?? 0;
  }

  start(): void {
    this.#listener = Deno.listen({ hostname: this.address, port: PORT });
    this.#accepting = this.#accept(this.#listener);
  }

  async #accept(listener: Deno.TcpListener): Promise<void> {
    for (;;) {
      try {
        const socket = await listener.accept();
        if (this.#listener !== listener) {
          socket.close();
          continue;
        }
        const connection = new FakeConnection(this, socket);
        this.connections.add(connection);
        void connection.serve().finally(() => this.connections.delete(connection));
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        // A host that is gone again before it was accepted.
        if (!(error instanceof Deno.errors.NotConnected || error instanceof Deno.errors.ConnectionAborted)) throw error;
      }
    }
  }

  /** Stops to listen and ends every connection. */
  async stop(): Promise<void> {
    this.#listener?.close();
    this.#listener = null;
    await this.#accepting;
    await this.kill();
  }

  /** Ends every connection; the portal goes on listening. */
  async kill(): Promise<void> {
    const connections = [...this.connections];
    for (const connection of connections) connection.close();
    await Promise.all(connections.map((connection) => connection.ended.promise));
  }

  /** Ends the connections of I/O queues only. */
  killIoQueues(): void {
    for (const connection of this.connections) {
      if (connection.qid > 0) connection.close();
    }
  }

  /** Changes the ANA state and tells every host that asked to be told. */
  setAna(state: number): void {
    this.ana = state;
    for (const connection of this.connections) connection.tell(ANA_CHANGED);
  }

  /** Tells every host of an event, given as dword 0 of its answer. */
  tellEvent(event: number): void {
    for (const connection of this.connections) connection.tell(event);
  }

  /** Tells every host that its namespaces have changed. */
  tellNamespaceChange(): void {
    for (const connection of this.connections) connection.tell(NAMESPACE_CHANGED);
  }

  /** Answers what was kept back while `answersIo` was false. */
  releaseIo(): void {
    this.answersIo = true;
    for (const connection of this.connections) connection.releaseIo();
  }
}

interface FakeControllerState {
  cntlid: number;
  cc: number;
  isShutDown: boolean;
}

/** A write whose data comes in H2CData. */
interface Transfer {
  sqe: Uint8Array;
  data: Uint8Array;
  asked: number;
  got: number;
}

class FakeConnection {
  readonly ended = Promise.withResolvers<void>();
  /** -1 until Connect. */
  qid = -1;
  readonly #portal: FakePortal;
  readonly #socket: Deno.TcpConn;
  readonly #transfers = new Map<number, Transfer>();
  readonly #kept: Uint8Array[] = [];
  #controller: FakeControllerState | null = null;
  #eventRequests: number[] = [];
  /** Events that no request has come for yet, as dword 0 of its answer. */
  readonly #untold = new Set<number>();
  #sending: Promise<void> = Promise.resolve();
  #isClosed = false;
  #isStalled = false;

  constructor(portal: FakePortal, socket: Deno.TcpConn) {
    this.#portal = portal;
    this.#socket = socket;
  }

  get peer(): string {
    return this.#socket.remoteAddr.hostname;
  }

  async serve(): Promise<void> {
    try {
      this.#socket.setNoDelay(true);
      for (let pdu = await this.#readPdu(); pdu !== null; pdu = await this.#readPdu()) {
        const delayMs = this.qid > 0 ? 0 : this.#portal.adminDelayMs;
        if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
        if (!this.#isStalled) this.#handlePdu(pdu);
      }
    } catch {
      // Whatever ended it: the host is gone, or it is to be.
    } finally {
      this.close();
      this.#endQueues();
      await this.#sending;
      this.ended.resolve();
    }
  }

  /** A controller without its admin queue has no I/O queues either. */
  #endQueues(): void {
    if (this.qid !== 0 || this.#controller === null) return;
    this.#portal.controllers.delete(this.#controller.cntlid);
    for (const other of this.#portal.connections) {
      if (other.#controller === this.#controller) other.close();
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  async #readPdu(): Promise<Uint8Array | null> {
    const common = await this.#read(8);
    if (common === null) return null;
    const plen = get32(common, PduAt.PLEN);
    if (plen < 8 || plen > 4 << 20) return null;
    const rest = await this.#read(plen - 8);
    if (rest === null) return null;
    const pdu = new Uint8Array(plen);
    pdu.set(common);
    pdu.set(rest, 8);
    return pdu;
  }

  async #read(bytes: number): Promise<Uint8Array | null> {
    const data = new Uint8Array(bytes);
    for (let have = 0; have < bytes;) {
      const got = await this.#socket.read(data.subarray(have));
      if (got === null) return null;
      have += got;
    }
    return data;
  }

  #send(pdu: Uint8Array): void {
    this.#sending = this.#sending.then(async () => {
      try {
        for (let done = 0; done < pdu.length && !this.#isClosed;) done += await this.#socket.write(pdu.subarray(done));
      } catch {
        this.close();
      }
    });
  }

  /** Counts the step; true if a fault happens there. */
  #isFaulty(step: Step): boolean {
    const portal = this.#portal;
    portal.seen.set(step, portal.count(step) + 1);
    if (portal.fault?.at !== step) return false;
    if (portal.fault.how === "close") this.close();
    else if (portal.fault.how === "stall") this.#isStalled = true;
    else this.#send(new Uint8Array(64).fill(0xff));
    return true;
  }

  #handlePdu(pdu: Uint8Array): void {
    switch (pdu[PduAt.TYPE]) {
      case PduType.ICReq:
        return this.#handleIcReq();
      case PduType.CapsuleCmd:
        return this.#handleCommand(pdu);
      case PduType.H2CData:
        return this.#handleH2cData(pdu);
      default:
        return this.close();
    }
  }

  #handleIcReq(): void {
    const isAdmin = this.#portal.controllers.size === 0;
    if (this.#isFaulty(isAdmin ? "icresp" : "io icresp")) return;
    const pdu = pduOf(PduType.ICResp, PduHlen.ICResp, PduHlen.ICResp);
    set32(pdu, ICRespAt.MAXH2CDATA, 32768);
    this.#send(pdu);
  }

  #handleCommand(pdu: Uint8Array): void {
    const sqe = pdu.slice(CapsuleCmdAt.SQE, CapsuleCmdAt.SQE + 64);
    const data = pdu[PduAt.PDO] === 0 ? new Uint8Array(0) : pdu.slice(pdu[PduAt.PDO]);
    if (sqe[SqeAt.OPC] === FABRICS_OPCODE) return this.#handleFabrics(sqe, data);
    if (this.qid === 0) return this.#handleAdmin(sqe);
    if (this.#isFaulty("io")) return;
    if (sqe[SqeAt.OPC] === NvmOpcode.WRITE && sqe[SqeAt.SGL1 + SglAt.IDENTIFIER] !== SglIdentifier.DATA_BLOCK_OFFSET) {
      return this.#beginTransfer(sqe);
    }
    this.#handleIo(sqe, data);
  }

  // ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #answer(sqe: Uint8Array, status = SUCCESS, dw0 = 0, dw1 = 0): void {
    const pdu = pduOf(PduType.CapsuleResp, PduHlen.CapsuleResp, PduHlen.CapsuleResp);
    const cqe = CapsuleRespAt.CQE;
    set32(pdu, cqe + CqeAt.DW0, dw0);
    set32(pdu, cqe + CqeAt.DW1, dw1);
    set16(pdu, cqe + CqeAt.CID, get16(sqe, SqeAt.CID));
    set16(pdu, cqe + CqeAt.STATUS, status << 1);
    this.#send(pdu);
  }

  #answerData(sqe: Uint8Array, data: Uint8Array): void {
    const portal = this.#portal;
    for (let at = 0; at < data.length; at += portal.c2hDataBytes) {
      const piece = data.subarray(at, at + portal.c2hDataBytes);
      const isLast = at + piece.length === data.length;
      const pdu = pduOf(PduType.C2HData, PduHlen.C2HData, PduHlen.C2HData + piece.length);
      pdu[PduAt.PDO] = PduHlen.C2HData;
      if (isLast) pdu[PduAt.FLAGS] = PduFlag.LAST_PDU | (portal.c2hSuccess ? PduFlag.SUCCESS : 0);
      set16(pdu, C2HDataAt.CCCID, get16(sqe, SqeAt.CID));
      set32(pdu, C2HDataAt.DATAO, at);
      set32(pdu, C2HDataAt.DATAL, piece.length);
      pdu.set(piece, PduHlen.C2HData);
      this.#send(pdu);
    }
    if (!portal.c2hSuccess) this.#answer(sqe);
  }

  // ── fabrics ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #handleFabrics(sqe: Uint8Array, data: Uint8Array): void {
    const property = get32(sqe, PropertyCommandAt.OFST);
    switch (sqe[SQE_FCTYPE_AT]) {
      case FabricsType.CONNECT:
        return this.#connect(sqe, data);
      case FabricsType.PROPERTY_GET:
        return this.#getProperty(sqe, property);
      case FabricsType.PROPERTY_SET:
        if (this.#isFaulty("write CC")) return;
        this.#setConfiguration(get32(sqe, PropertyCommandAt.VALUE));
        return this.#answer(sqe);
      default:
        return this.#answer(sqe, StatusCode.INVALID_OPCODE | StatusField.DNR);
    }
  }

  #connect(sqe: Uint8Array, data: Uint8Array): void {
    const qid = get16(sqe, ConnectAt.QID);
    if (this.#isFaulty(qid === 0 ? "connect" : "io connect")) return;
    const portal = this.#portal;
    if (text(data, ConnectDataAt.SUBNQN) !== portal.nqn) return this.#refuseData(sqe, ConnectDataAt.SUBNQN);
    if (portal.connectRefusal !== null) {
      return this.#answer(sqe, portal.connectRefusal.status, portal.connectRefusal.result0);
    }
    if (portal.refusesAttributes && sqe[ConnectAt.CATTR] !== 0) {
      return this.#answer(sqe, StatusCode.CONNECT_INVALID_PARAMETERS, ConnectAt.CATTR);
    }
    if (portal.refusesHosts) return this.#answer(sqe, NO_SUCH_HOST);
    if (qid === 0) {
      const cntlid = portal.cntlid ?? ++portal.target.controllers;
      this.#controller = { cntlid, cc: 0, isShutDown: false };
      portal.controllers.set(cntlid, this.#controller);
    } else {
      this.#controller = portal.controllers.get(get16(data, ConnectDataAt.CNTLID)) ?? null;
      if (this.#controller === null) return this.#refuseData(sqe, ConnectDataAt.CNTLID);
      if (qid > portal.queuesMax || portal.refusedQueues.has(qid)) {
        return this.#answer(sqe, StatusCode.CONNECT_INVALID_PARAMETERS | StatusField.DNR);
      }
    }
    this.qid = qid;
    this.#answer(sqe, SUCCESS, this.#controller.cntlid);
  }

  #refuseData(sqe: Uint8Array, at: number): void {
    this.#answer(sqe, StatusCode.CONNECT_INVALID_PARAMETERS | StatusField.DNR, ConnectInvalidDw0.IATTR_DATA | at);
  }

  #getProperty(sqe: Uint8Array, property: number): void {
    const portal = this.#portal;
    const controller = this.#controller!;
    switch (property) {
      case PropertyAt.CAP:
        if (this.#isFaulty("read CAP")) return;
        return this.#answer(sqe, SUCCESS, portal.mqes | (0x10 << 24), 1 << 5);
      case PropertyAt.VS:
        if (this.#isFaulty("read VS")) return;
        return this.#answer(sqe, SUCCESS, 0x00020000);
      case PropertyAt.CC:
        if (this.#isFaulty("read CC")) return;
        return this.#answer(sqe, SUCCESS, controller.cc);
      default: {
        if (this.#isFaulty("read CSTS")) return;
        const ready = (controller.cc & Cc.EN) !== 0 && portal.becomesReady ? Csts.RDY : 0;
        return this.#answer(sqe, SUCCESS, ready | (controller.isShutDown ? CstsShst.COMPLETE << Csts.SHST_SHIFT : 0));
      }
    }
  }

  #setConfiguration(cc: number): void {
    this.#controller!.cc = cc;
    if (((cc >> Cc.SHN_SHIFT) & 3) !== 0) this.#controller!.isShutDown = true;
    if ((cc & Cc.EN) !== 0) return;
    for (const other of this.#portal.connections) {
      if (other !== this && other.#controller === this.#controller) other.close();
    }
  }

  // ── admin ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #handleAdmin(sqe: Uint8Array): void {
    const failing = this.#portal.adminStatus;
    if (failing !== null && failing.times > 0 && stepOf(sqe) === failing.step) {
      failing.times--;
      return this.#answer(sqe, failing.status);
    }
    switch (sqe[SqeAt.OPC]) {
      case AdminOpcode.IDENTIFY:
        return this.#identify(sqe);
      case AdminOpcode.SET_FEATURES:
        return this.#setFeatures(sqe);
      case AdminOpcode.GET_LOG_PAGE:
        return this.#getLogPage(sqe);
      case AdminOpcode.KEEP_ALIVE:
        if (this.#isFaulty("keep alive") || !this.#portal.answersKeepAlives) return;
        if (this.#portal.keepAliveDelayMs === 0) return this.#answer(sqe);
        setTimeout(() => this.#answer(sqe), this.#portal.keepAliveDelayMs);
        return;
      case AdminOpcode.ASYNC_EVENT_REQUEST:
        if (this.#isFaulty("asynchronous event request")) return;
        if (this.#portal.eventStatus !== 0) return this.#answer(sqe, this.#portal.eventStatus);
        this.#eventRequests.push(get16(sqe, SqeAt.CID));
        return this.#tellEvents();
      default:
        return this.#answer(sqe, StatusCode.INVALID_OPCODE | StatusField.DNR);
    }
  }

  #identify(sqe: Uint8Array): void {
    const nsid = get32(sqe, SqeAt.NSID);
    switch (sqe[SqeAt.CDW10]) {
      case IdentifyCns.CONTROLLER:
        if (this.#isFaulty("identify controller")) return;
        return this.#answerData(sqe, this.#controllerData());
      case IdentifyCns.COMMAND_SET_CONTROLLER:
        if (this.#isFaulty("identify NVM controller")) return;
        return this.#answerData(sqe, new Uint8Array(IDENTIFY_BYTES));
      case IdentifyCns.ACTIVE_NAMESPACE_LIST: {
        if (this.#isFaulty("identify active namespaces")) return;
        const list = new Uint8Array(IDENTIFY_BYTES);
        if (nsid < this.#portal.nsid) set32(list, 0, this.#portal.nsid);
        return this.#answerData(sqe, list);
      }
      case IdentifyCns.NAMESPACE:
        if (this.#isFaulty("identify namespace")) return;
        return this.#answerData(sqe, this.#namespaceData());
      case IdentifyCns.NAMESPACE_DESCRIPTORS:
        if (this.#isFaulty("identify descriptors")) return;
        return this.#answerData(sqe, this.#descriptorsData());
      default:
        return this.#answer(sqe, StatusCode.INVALID_FIELD | StatusField.DNR);
    }
  }

  #controllerData(): Uint8Array {
    const portal = this.#portal;
    const at = IdentifyControllerAt;
    const data = new Uint8Array(IDENTIFY_BYTES);
    setText(data, at.SN, portal.serial.padEnd(20));
    setText(data, at.MN, "Fake array".padEnd(40));
    setText(data, at.FR, "1.0".padEnd(8));
    data[at.CMIC] = Cmic.MULTIPLE_PORTS | Cmic.MULTIPLE_CONTROLLERS | (portal.ana === null ? 0 : Cmic.ANA_REPORTING);
    data[at.MDTS] = 5;
    set16(data, at.CNTLID, this.#controller!.cntlid);
    set32(data, at.VER, 0x00020000);
    const events = AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES | AsyncEventConfig.ANA_CHANGE_NOTICES;
    set32(data, at.OAES, portal.hasEvents ? events : 0);
    set16(data, at.CQT, portal.quiesceMs);
    data[at.CNTRLTYPE] = portal.discoveryLog === null ? 1 : 2;
    data[at.AERL] = 3;
    set16(data, at.KAS, 1);
    data[at.ANATT] = portal.anaTransitionSeconds;
    set32(data, at.ANAGRPMAX, 2);
    set32(data, at.NANAGRPID, 2);
    set32(data, at.NN, 16);
    set16(data, at.ONCS, Oncs.DATASET_MANAGEMENT | Oncs.WRITE_ZEROES);
    data[at.VWC] = 1;
    set32(data, at.SGLS, 1);
    set32(data, at.MNAN, portal.namespacesMax);
    setText(data, at.SUBNQN, portal.nqn);
    set32(data, at.IOCCSZ, (64 + portal.inCapsuleBytes) / 16);
    set32(data, at.IORCSZ, 1);
    return data;
  }

  #namespaceData(): Uint8Array {
    const at = IdentifyNamespaceAt;
    const data = new Uint8Array(IDENTIFY_BYTES);
    const blocks = this.#portal.blocks ?? this.#portal.target.blocks;
    set32(data, at.NSZE, blocks);
    set32(data, at.NCAP, blocks);
    data[at.NMIC] = 1;
    set32(data, at.ANAGRPID, this.#portal.anaGroup);
    data[at.NSATTR] = this.#portal.isProtected ? 1 : 0;
    data[at.LBAF + 2] = this.#portal.blockShift;
    return data;
  }

  #descriptorsData(): Uint8Array {
    const data = new Uint8Array(IDENTIFY_BYTES);
    data[NamespaceDescriptorAt.NIDT] = NamespaceIdType.UUID;
    data[NamespaceDescriptorAt.NIDL] = 16;
    const hex = this.#portal.uuid.replaceAll("-", "");
    for (let i = 0; i < 16; i++) data[NamespaceDescriptorAt.NID + i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    return data;
  }

  #setFeatures(sqe: Uint8Array): void {
    const feature = sqe[SqeAt.CDW10];
    if (feature === FeatureId.NUMBER_OF_QUEUES) {
      if (this.#isFaulty("set number of queues")) return;
      const granted = Math.min(get16(sqe, SqeAt.CDW11) + 1, this.#portal.queuesMax) - 1;
      return this.#answer(sqe, SUCCESS, granted | (granted << 16));
    }
    if (feature === FeatureId.ASYNC_EVENT_CONFIGURATION && this.#isFaulty("set asynchronous events")) return;
    this.#answer(sqe);
  }

  #getLogPage(sqe: Uint8Array): void {
    const bytes = (get16(sqe, SqeAt.CDW10 + 2) + (get16(sqe, SqeAt.CDW11) << 16) + 1) * 4;
    const data = new Uint8Array(bytes);
    this.#portal.logsRead.add(sqe[SqeAt.CDW10]);
    if (sqe[SqeAt.CDW10] === LogId.DISCOVERY) {
      const offset = get32(sqe, SqeAt.CDW12);
      data.set(this.#portal.discoveryLog?.subarray(offset, offset + bytes) ?? []);
    }
    if (sqe[SqeAt.CDW10] === LogId.ASYMMETRIC_NAMESPACE_ACCESS) {
      if (this.#isFaulty("read ANA log")) return;
      this.#untold.delete(ANA_CHANGED);
      const isGroupsOnly = (sqe[SqeAt.CDW10 + 1] & ANA_LSP_RGO) !== 0;
      // Group 1 has the portal's state, group 2 is optimized everywhere.
      set16(data, AnaLogAt.NAGD, isGroupsOnly ? 2 : 1);
      const group = AnaLogAt.DESCRIPTORS;
      set32(data, group + AnaGroupAt.AGID, 1);
      data[group + AnaGroupAt.STATE] = this.#portal.ana ?? AnaStateCode.OPTIMIZED;
      if (isGroupsOnly) {
        set32(data, group + AnaGroupAt.NSIDS, 2);
        data[group + AnaGroupAt.NSIDS + AnaGroupAt.STATE] = AnaStateCode.OPTIMIZED;
      } else {
        set32(data, group + AnaGroupAt.NNV, 1);
        set32(data, group + AnaGroupAt.NSIDS, this.#portal.nsid);
      }
      this.#portal.spoilAnaLog(data);
    }
    const logBytes = sqe[SqeAt.CDW10] === LogId.ASYMMETRIC_NAMESPACE_ACCESS
      ? AnaLogAt.DESCRIPTORS + AnaGroupAt.NSIDS + 4
      : sqe[SqeAt.CDW10] === LogId.CHANGED_NAMESPACE_LIST
      ? 4
      : bytes;
    this.#answerData(sqe, this.#portal.endsLogs ? data.subarray(0, logBytes) : data);
  }

  tell(event: number): void {
    if (this.qid !== 0) return;
    this.#untold.add(event);
    this.#tellEvents();
  }

  #tellEvents(): void {
    const [event = this.#portal.repeatsEvents ? ANA_CHANGED : undefined] = this.#untold;
    if (event === undefined) return;
    const cid = this.#eventRequests.shift();
    if (cid === undefined) return;
    this.#untold.delete(event);
    const sqe = new Uint8Array(64);
    set16(sqe, SqeAt.CID, cid);
    this.#answer(sqe, SUCCESS, event);
  }

  // ── I/O ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #beginTransfer(sqe: Uint8Array): void {
    const data = new Uint8Array(get32(sqe, SqeAt.SGL1 + SglAt.LENGTH));
    const transfer = { sqe, data, asked: 0, got: 0 };
    this.#transfers.set(get16(sqe, SqeAt.CID), transfer);
    this.#askData(transfer);
  }

  #askData(transfer: Transfer): void {
    const bytes = Math.min(this.#portal.r2tBytes, transfer.data.length - transfer.asked);
    const pdu = pduOf(PduType.R2T, PduHlen.R2T, PduHlen.R2T);
    set16(pdu, R2TAt.CCCID, get16(transfer.sqe, SqeAt.CID));
    set16(pdu, R2TAt.TTAG, get16(transfer.sqe, SqeAt.CID) ^ 0x5555);
    set32(pdu, R2TAt.R2TO, transfer.asked);
    set32(pdu, R2TAt.R2TL, bytes);
    transfer.asked += bytes;
    this.#send(pdu);
  }

  #handleH2cData(pdu: Uint8Array): void {
    const cid = get16(pdu, H2CDataAt.CCCID);
    const transfer = this.#transfers.get(cid);
    const isRight = transfer !== undefined && get16(pdu, H2CDataAt.TTAG) === (cid ^ 0x5555) &&
      get32(pdu, H2CDataAt.DATAO) === transfer.got;
    if (!isRight) return this.close();
    const bytes = get32(pdu, H2CDataAt.DATAL);
    transfer.data.set(pdu.subarray(pdu[PduAt.PDO], pdu[PduAt.PDO] + bytes), transfer.got);
    transfer.got += bytes;
    if (transfer.got < transfer.asked) return;
    if (transfer.asked < transfer.data.length) return this.#askData(transfer);
    this.#transfers.delete(cid);
    this.#handleIo(transfer.sqe, transfer.data);
  }

  /** What is not answered is not executed either, unless it is released. */
  #handleIo(sqe: Uint8Array, data: Uint8Array): void {
    if (this.#portal.answersIo) return this.#execute(sqe, data);
    const kept = new Uint8Array(64 + data.length);
    kept.set(sqe);
    kept.set(data, 64);
    this.#kept.push(kept);
  }

  releaseIo(): void {
    for (const kept of this.#kept.splice(0)) this.#execute(kept.slice(0, 64), kept.slice(64));
  }

  #execute(sqe: Uint8Array, data: Uint8Array): void {
    if (this.#isClosed) return;
    const { ana, target } = this.#portal;
    if (ana === AnaStateCode.INACCESSIBLE) return this.#answer(sqe, StatusCode.ANA_INACCESSIBLE);
    const at = get32(sqe, SqeAt.CDW10) * BLOCK_BYTES;
    const bytes = ((get32(sqe, SqeAt.CDW12) & RwCdw12.NLB_MASK) + 1) * BLOCK_BYTES;
    const hasRange = sqe[SqeAt.OPC] !== NvmOpcode.FLUSH && sqe[SqeAt.OPC] !== NvmOpcode.DATASET_MANAGEMENT;
    if (hasRange && at + bytes > target.memory.length) {
      return this.#answer(sqe, StatusCode.LBA_OUT_OF_RANGE | StatusField.DNR);
    }
    switch (sqe[SqeAt.OPC]) {
      case NvmOpcode.READ:
        return this.#answerData(sqe, target.memory.slice(at, at + bytes));
      case NvmOpcode.WRITE:
        target.memory.set(data, at);
        return this.#answer(sqe);
      case NvmOpcode.WRITE_ZEROES:
        target.memory.fill(0, at, at + bytes);
        return this.#answer(sqe);
      case NvmOpcode.FLUSH:
        return this.#answer(sqe);
      case NvmOpcode.DATASET_MANAGEMENT: {
        const start = get32(data, DsmRangeAt.SLBA) * BLOCK_BYTES;
        target.memory.fill(0, start, start + get32(data, DsmRangeAt.LENGTH) * BLOCK_BYTES);
        return this.#answer(sqe);
      }
      default:
        return this.#answer(sqe, StatusCode.INVALID_OPCODE | StatusField.DNR);
    }
  }
}

// ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The step that an admin command belongs to; null for those that cannot be made to fail. */
function stepOf(sqe: Uint8Array): Step | null {
  if (sqe[SqeAt.OPC] === AdminOpcode.GET_LOG_PAGE) {
    return sqe[SqeAt.CDW10] === LogId.ASYMMETRIC_NAMESPACE_ACCESS ? "read ANA log" : null;
  }
  if (sqe[SqeAt.OPC] !== AdminOpcode.IDENTIFY) return null;
  return IDENTIFY_STEPS[sqe[SqeAt.CDW10]] ?? null;
}

const IDENTIFY_STEPS: Readonly<Record<number, Step>> = {
  [IdentifyCns.CONTROLLER]: "identify controller",
  [IdentifyCns.ACTIVE_NAMESPACE_LIST]: "identify active namespaces",
  [IdentifyCns.NAMESPACE]: "identify namespace",
  [IdentifyCns.NAMESPACE_DESCRIPTORS]: "identify descriptors",
};

function noticeOf(info: number, logPage: number): number {
  return AsyncEventType.NOTICE | (info << 8) | (logPage << 16);
}

function pduOf(type: number, hlen: number, plen: number): Uint8Array {
  const pdu = new Uint8Array(plen);
  pdu[PduAt.TYPE] = type;
  pdu[PduAt.HLEN] = hlen;
  set32(pdu, PduAt.PLEN, plen);
  return pdu;
}

function get16(data: Uint8Array, at: number): number {
  return data[at] + data[at + 1] * 0x100;
}

function get32(data: Uint8Array, at: number): number {
  return get16(data, at) + get16(data, at + 2) * 0x10000;
}

function set16(data: Uint8Array, at: number, value: number): void {
  data[at] = value & 0xff;
  data[at + 1] = (value >>> 8) & 0xff;
}

function set32(data: Uint8Array, at: number, value: number): void {
  set16(data, at, value & 0xffff);
  set16(data, at + 2, value >>> 16);
}

function text(data: Uint8Array, at: number): string {
  const field = data.subarray(at, at + 256);
  return new TextDecoder().decode(field.subarray(0, field.indexOf(0)));
}

function setText(data: Uint8Array, at: number, words: string): void {
  data.set(new TextEncoder().encode(words), at);
}
