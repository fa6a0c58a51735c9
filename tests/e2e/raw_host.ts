/**
 * A host made by hand, a PDU at a time, so that it can say what no host should. It shares only `src/spec` with the
 * product.
 */
import {
  C2HDataAt,
  CapsuleCmdAt,
  CapsuleRespAt,
  ICReqAt,
  ICRespAt,
  PduAt,
  PduFlag,
  PduHlen,
  PduType,
} from "../../src/spec/nvme_tcp.ts";
import {
  CNTLID_DYNAMIC,
  CONNECT_DATA_BYTES,
  ConnectAt,
  ConnectAttribute,
  ConnectDataAt,
  DISCOVERY_NQN,
  PropertyCommandAt,
} from "../../src/spec/nvme_fabrics.ts";
import {
  AdminOpcode,
  CqeAt,
  FABRICS_OPCODE,
  FabricsType,
  FeatureId,
  SglAt,
  SglIdentifier,
  SQE_BYTES,
  SQE_FCTYPE_AT,
  SQE_FLAGS_PSDT_SGL,
  SqeAt,
} from "../../src/spec/nvme.ts";
import { Cc, Csts, PropertyAt } from "../../src/spec/nvme_property.ts";

const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:1f0e0d0c-0b0a-4908-8706-050403020100";
const ANSWER_MS_MAX = 5_000;
/** Queue entries of the I/O queues here. */
const QUEUE_ENTRIES = 32;

/** What a response says. */
export interface Completion {
  cid: number;
  /** The status field without the phase tag. */
  status: number;
  dw0: number;
  /** What came for the command in C2HData, in the order of its coming. */
  data: Uint8Array<ArrayBuffer>;
}

/** One connection. */
export class RawHost implements Disposable {
  readonly #conn: Deno.TcpConn;
  #received = new Uint8Array(0);
  #isClosed = false;
  #isDisposed = false;
  #nextCid = 1;
  /** Data that has come for commands that are not complete. */
  readonly #data = new Map<number, Uint8Array[]>();
  readonly #completions = new Map<number, Completion>();

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** A TCP connection and nothing more. */
  static async open(portal: { hostname: string; port: number }): Promise<RawHost> {
    return new RawHost(await Deno.connect(portal));
  }

  /** A connection after ICReq and ICResp, and after Connect where a queue is named. */
  static async connect(
    portal: { hostname: string; port: number },
    { nqn, qid, cntlid, digests = 0, katoMs = 0, hostNqn }: {
      nqn?: string;
      qid?: number;
      cntlid?: number;
      digests?: number;
      katoMs?: number;
      hostNqn?: string;
    } = {},
  ): Promise<RawHost & { cntlid: number }> {
    const host = Object.assign(await RawHost.open(portal), { cntlid: 0 });
    try {
      await host.send(icReq({ digests }));
      const response = await host.readPdu();
      if (response?.[PduAt.TYPE] !== PduType.ICResp) throw new Error("No ICResp came");
      if (nqn === undefined) return host;
      const data = connectData(nqn, cntlid ?? CNTLID_DYNAMIC, hostNqn);
      const { dw0 } = await host.succeed("Connect", connectSqe(qid ?? 0, { katoMs }), data);
      host.cntlid = dw0 & 0xffff;
      return host;
    } catch (error) {
      host[Symbol.dispose]();
      throw error;
    }
  }

  /** A controller that is ready and grants I/O queues, by its admin queue. */
  static async controller(
    portal: { hostname: string; port: number },
    nqn: string,
    { katoMs = 0 } = {},
  ): Promise<RawHost & { cntlid: number }> {
    const host = await RawHost.connect(portal, { nqn, katoMs });
    const sizes = 6 << Cc.IOSQES_SHIFT | 4 << Cc.IOCQES_SHIFT;
    await host.succeed("CC.EN", propertySetSqe(PropertyAt.CC, Cc.EN | sizes));
    for (;;) {
      const { dw0 } = await host.succeed("CSTS", propertyGetSqe(PropertyAt.CSTS));
      if ((dw0 & Csts.RDY) !== 0) break;
    }
    if (nqn !== DISCOVERY_NQN) await host.succeed("Number of Queues", numberOfQueuesSqe());
    return host;
  }

  /** Sends a command that has to succeed. */
  async succeed(what: string, entry: Uint8Array<ArrayBuffer>, data?: Uint8Array): Promise<Completion> {
    const completion = await this.command(entry, data);
    if (completion.status !== 0) {
      throw new Error(`${what} was answered with status 0x${completion.status.toString(16)}`);
    }
    return completion;
  }

  async send(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length;) sent += await this.#conn.write(bytes.subarray(sent));
  }

  /** Sends bytes to somebody who may have closed the connection. True if they could be sent. */
  async trySend(bytes: Uint8Array): Promise<boolean> {
    return await this.send(bytes).then(() => true, () => false);
  }

  /** The next PDU, or null once the peer has closed the connection. Fails if neither comes in time. */
  async readPdu(msMax = ANSWER_MS_MAX): Promise<Uint8Array | null> {
    const end = performance.now() + msMax;
    for (;;) {
      const pdu = this.#takePdu();
      if (pdu !== null || this.#isClosed) return pdu;
      await this.#receive(end - performance.now(), `no PDU within ${msMax} ms`);
    }
  }

  #takePdu(): Uint8Array | null {
    if (this.#received.length < 8) return null;
    const plen = new DataView(this.#received.buffer, this.#received.byteOffset).getUint32(PduAt.PLEN, true);
    if (this.#received.length < plen) return null;
    const pdu = this.#received.subarray(0, plen);
    this.#received = this.#received.slice(plen);
    return pdu;
  }

  async #receive(msMax: number, failure: string): Promise<void> {
    const chunk = new Uint8Array(65536);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => timer = setTimeout(() => resolve("late"), Math.max(msMax, 0)));
    const count = await Promise.race([this.#conn.read(chunk).catch(() => null), late]);
    clearTimeout(timer);
    if (count === "late") {
      this[Symbol.dispose](); // a read is under way: nobody may begin another one
      throw new Error(failure);
    }
    if (count === null) this.#isClosed = true;
    else this.#received = concat([this.#received, chunk.subarray(0, count)]);
  }

  /** Reads until the peer has closed the connection; the PDUs that came before. Fails if it does not close in time. */
  async untilClosed(msMax: number): Promise<Uint8Array[]> {
    const end = performance.now() + msMax;
    const pdus: Uint8Array[] = [];
    while (!this.#isClosed) {
      await this.#receive(end - performance.now(), `the connection is still open after ${msMax} ms`);
      for (let pdu = this.#takePdu(); pdu !== null; pdu = this.#takePdu()) pdus.push(pdu);
    }
    return pdus;
  }

  /** Sends a command, with its data in the capsule, and waits for its response. */
  async command(entry: Uint8Array<ArrayBuffer>, sent?: Uint8Array): Promise<Completion> {
    return await this.completion(await this.post(entry, sent));
  }

  /** Sends a command, with its data in the capsule, and does not wait; its CID. */
  async post(entry: Uint8Array<ArrayBuffer>, sent?: Uint8Array): Promise<number> {
    const cid = this.#nextCid++;
    new DataView(entry.buffer).setUint16(SqeAt.CID, cid, true);
    await this.send(capsule(entry, sent));
    return cid;
  }

  /** The response to a command that was posted; those of others are kept until they are asked for. */
  async completion(cid: number, msMax = ANSWER_MS_MAX): Promise<Completion> {
    const end = performance.now() + msMax;
    for (;;) {
      const completion = this.#completions.get(cid);
      if (completion !== undefined) {
        this.#completions.delete(cid);
        return completion;
      }
      const pdu = await this.readPdu(end - performance.now());
      if (pdu === null) throw new Error("The connection was closed instead of an answer");
      this.#handleAnswer(pdu);
    }
  }

  #handleAnswer(pdu: Uint8Array): void {
    const view = new DataView(pdu.buffer, pdu.byteOffset);
    if (pdu[PduAt.TYPE] === PduType.C2HData) {
      const cid = view.getUint16(C2HDataAt.CCCID, true);
      const pdo = pdu[PduAt.PDO]!;
      const data = pdu.subarray(pdo, pdo + view.getUint32(C2HDataAt.DATAL, true));
      this.#data.set(cid, [...this.#data.get(cid) ?? [], data]);
      if ((pdu[PduAt.FLAGS]! & PduFlag.SUCCESS) !== 0) this.#complete({ cid, status: 0, dw0: 0 });
    } else if (pdu[PduAt.TYPE] === PduType.CapsuleResp) {
      const cqe = new DataView(pdu.buffer, pdu.byteOffset + CapsuleRespAt.CQE);
      const status = cqe.getUint16(CqeAt.STATUS, true) >> 1;
      this.#complete({ cid: cqe.getUint16(CqeAt.CID, true), status, dw0: cqe.getUint32(CqeAt.DW0, true) });
    }
  }

  #complete(response: Omit<Completion, "data">): void {
    const data = concat(this.#data.get(response.cid) ?? []);
    this.#data.delete(response.cid);
    this.#completions.set(response.cid, { ...response, data });
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#isClosed = true;
    this.#conn.close();
  }
}

function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    made.set(piece, at);
    at += piece.length;
  }
  return made;
}

/** A PDU with its common header; what comes after it is zero. */
export function pdu(type: number, bytes: number, hlen: number = bytes, pdo = 0): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(bytes);
  made[PduAt.TYPE] = type;
  made[PduAt.HLEN] = hlen;
  made[PduAt.PDO] = pdo;
  new DataView(made.buffer).setUint32(PduAt.PLEN, bytes, true);
  return made;
}

export function icReq({ digests = 0, pfv = 0, hpda = 0 } = {}): Uint8Array<ArrayBuffer> {
  const made = pdu(PduType.ICReq, PduHlen.ICReq);
  made[ICReqAt.PFV] = pfv;
  made[ICReqAt.HPDA] = hpda;
  made[ICReqAt.DGST] = digests;
  return made;
}

/** The most that one H2CData may carry, as an ICResp says. */
export function maxH2cData(icResp: Uint8Array): number {
  return new DataView(icResp.buffer, icResp.byteOffset).getUint32(ICRespAt.MAXH2CDATA, true);
}

/** A submission queue entry with an opcode. */
export function sqe(opcode: number): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(SQE_BYTES);
  made[SqeAt.OPC] = opcode;
  made[SqeAt.FLAGS] = SQE_FLAGS_PSDT_SGL;
  return made;
}

/** Says in an entry where its data is: in the capsule, or to be moved by the transport. */
export function withSgl(entry: Uint8Array<ArrayBuffer>, bytes: number, identifier: number): Uint8Array<ArrayBuffer> {
  new DataView(entry.buffer).setUint32(SqeAt.SGL1 + SglAt.LENGTH, bytes, true);
  entry[SqeAt.SGL1 + SglAt.IDENTIFIER] = identifier;
  return entry;
}

/** A command capsule; the data, if there is any, travels in it. */
export function capsule(entry: Uint8Array<ArrayBuffer>, data?: Uint8Array): Uint8Array<ArrayBuffer> {
  const hlen = PduHlen.CapsuleCmd;
  const made = pdu(PduType.CapsuleCmd, hlen + (data?.length ?? 0), hlen, data === undefined ? 0 : hlen);
  if (data !== undefined) withSgl(entry, data.length, SglIdentifier.DATA_BLOCK_OFFSET);
  made.set(entry, CapsuleCmdAt.SQE);
  if (data !== undefined) made.set(data, hlen);
  return made;
}

export function connectSqe(qid: number, { katoMs = 0 } = {}): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.CONNECT;
  const view = new DataView(entry.buffer);
  view.setUint16(ConnectAt.QID, qid, true);
  view.setUint16(ConnectAt.SQSIZE, QUEUE_ENTRIES - 1, true);
  entry[ConnectAt.CATTR] = ConnectAttribute.DISABLE_SQ_FLOW_CONTROL;
  view.setUint32(ConnectAt.KATO, katoMs, true);
  return entry;
}

export function connectData(nqn: string, cntlid: number, hostNqn = HOST_NQN): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(CONNECT_DATA_BYTES);
  const encoder = new TextEncoder();
  data.fill(0x1f, ConnectDataAt.HOSTID, ConnectDataAt.HOSTID + 16);
  new DataView(data.buffer).setUint16(ConnectDataAt.CNTLID, cntlid, true);
  data.set(encoder.encode(nqn), ConnectDataAt.SUBNQN);
  data.set(encoder.encode(hostNqn), ConnectDataAt.HOSTNQN);
  return data;
}

export function propertySetSqe(property: number, value: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.PROPERTY_SET;
  const view = new DataView(entry.buffer);
  view.setUint32(PropertyCommandAt.OFST, property, true);
  view.setUint32(PropertyCommandAt.VALUE, value, true);
  return entry;
}

export function propertyGetSqe(property: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.PROPERTY_GET;
  new DataView(entry.buffer).setUint32(PropertyCommandAt.OFST, property, true);
  return entry;
}

/** Set Features that asks for some I/O queues. */
function numberOfQueuesSqe(): Uint8Array<ArrayBuffer> {
  const entry = sqe(AdminOpcode.SET_FEATURES);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.CDW10, FeatureId.NUMBER_OF_QUEUES, true);
  view.setUint32(SqeAt.CDW11, 3 << 16 | 3, true);
  return entry;
}

/** Identify Controller, which gives 4096 bytes. */
export function identifySqe(): Uint8Array<ArrayBuffer> {
  const entry = withSgl(sqe(AdminOpcode.IDENTIFY), 4096, SglIdentifier.TRANSPORT_DATA_BLOCK);
  new DataView(entry.buffer).setUint32(SqeAt.CDW10, 1, true);
  return entry;
}

/** Read or write of namespace 1; the data of a write has to travel in the capsule. */
export function ioSqe(opcode: number, lba: number, { blocks, bytes }: { blocks: number; bytes: number }) {
  const entry = withSgl(sqe(opcode), bytes, SglIdentifier.TRANSPORT_DATA_BLOCK);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.NSID, 1, true);
  view.setUint32(SqeAt.CDW10, lba, true);
  view.setUint32(SqeAt.CDW12, blocks - 1, true);
  return entry;
}

/** A copy of a PDU with some bytes changed. */
export function spoilt(good: Uint8Array, changes: Record<number, number>): Uint8Array<ArrayBuffer> {
  const made = Uint8Array.from(good);
  for (const [at, value] of Object.entries(changes)) made[Number(at)] = value;
  return made;
}

/** A copy of a PDU that says that it is `plen` bytes long. */
export function withPlen(good: Uint8Array, plen: number): Uint8Array<ArrayBuffer> {
  const made = Uint8Array.from(good);
  new DataView(made.buffer).setUint32(PduAt.PLEN, plen, true);
  return made;
}

/** A copy of a PDU that claims to carry a header digest that nobody agreed on. */
export function withHeaderDigestFlag(good: Uint8Array): Uint8Array<ArrayBuffer> {
  return spoilt(good, { [PduAt.FLAGS]: good[PduAt.FLAGS]! | PduFlag.HDGSTF });
}
