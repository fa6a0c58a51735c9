/**
 * A host made by hand, a PDU at a time, so that it can say what no host should. It shares only `src/protocol` with the
 * product.
 */
import { joinBytes } from "../../src/base/bytes.ts";
import {
  C2HDataAt,
  CapsuleRespAt,
  DigestFlag,
  ICRespAt,
  PduAt,
  PduFlag,
  PduType,
} from "../../src/protocol/nvme_tcp.ts";
import { CNTLID_DYNAMIC, DISCOVERY_NQN } from "../../src/protocol/nvme_fabrics.ts";
import { CqeAt, SqeAt } from "../../src/protocol/nvme.ts";
import { Cc, Csts, PropertyAt } from "../../src/protocol/nvme_property.ts";
import {
  capsule,
  connectData,
  connectSqe,
  icReq,
  isDataIntact,
  numberOfQueuesSqe,
  propertyGetSqe,
  propertySetSqe,
  withDataDigest,
} from "./raw_pdus.ts";

const ANSWER_MS_MAX = 5_000;
const SEND_MS_MAX = 10_000;

/** What a response says. */
export interface Completion {
  cid: number;
  /** The status field without the phase tag. */
  status: number;
  dw0: number;
  /** What came for the command in C2HData, in the order of its coming. */
  data: Uint8Array<ArrayBuffer>;
  /** The data came with the right digests, or without any. */
  isIntact: boolean;
}

/** One connection. */
export class RawHost implements Disposable {
  readonly #conn: Deno.TcpConn;
  #received = new Uint8Array(0);
  #isClosed = false;
  #isDisposed = false;
  #nextCid = 1;
  #hasDataDigest = false;
  /** Data that has come for commands that are not complete. */
  readonly #data = new Map<number, Uint8Array[]>();
  /** CIDs of commands whose data came with a wrong digest. */
  readonly #spoilt = new Set<number>();
  readonly #completions = new Map<number, Completion>();

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** A TCP connection and nothing more. */
  static async open(portal: { hostname: string; port: number }): Promise<RawHost> {
    return new RawHost(await inTime(Deno.connect(portal), ANSWER_MS_MAX, "the connection was not taken in time"));
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
      host.#hasDataDigest = (response[ICRespAt.DGST]! & DigestFlag.DDGST) !== 0;
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
    { katoMs = 0, digests = 0 } = {},
  ): Promise<RawHost & { cntlid: number }> {
    const host = await RawHost.connect(portal, { nqn, katoMs, digests });
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
    for (let sent = 0; sent < bytes.length;) {
      const sending = this.#conn.write(bytes.subarray(sent));
      sent += await inTime(sending, SEND_MS_MAX, "nobody takes what is sent");
    }
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
    const reading = this.#conn.read(chunk).catch(() => null);
    const count = await inTime(reading, Math.max(msMax, 0), failure).catch((error) => {
      this[Symbol.dispose](); // a read is under way: nobody may begin another one
      throw error;
    });
    if (count === null) this.#isClosed = true;
    else this.#received = joinBytes([this.#received, chunk.subarray(0, count)]);
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
    const made = capsule(entry, sent);
    await this.send(this.#hasDataDigest ? withDataDigest(made) : made);
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
      if (!isDataIntact(pdu)) this.#spoilt.add(cid);
      if ((pdu[PduAt.FLAGS]! & PduFlag.SUCCESS) !== 0) this.#complete({ cid, status: 0, dw0: 0 });
    } else if (pdu[PduAt.TYPE] === PduType.CapsuleResp) {
      const cqe = new DataView(pdu.buffer, pdu.byteOffset + CapsuleRespAt.CQE);
      const status = cqe.getUint16(CqeAt.STATUS, true) >> 1;
      this.#complete({ cid: cqe.getUint16(CqeAt.CID, true), status, dw0: cqe.getUint32(CqeAt.DW0, true) });
    }
  }

  #complete(response: Omit<Completion, "data" | "isIntact">): void {
    const isIntact = !this.#spoilt.delete(response.cid);
    const data = joinBytes(this.#data.get(response.cid) ?? []);
    this.#data.delete(response.cid);
    this.#completions.set(response.cid, { ...response, data, isIntact });
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#isClosed = true;
    this.#conn.close();
  }
}

/** What `work` gives; fails with these words if it takes longer. */
async function inTime<T>(work: Promise<T>, msMax: number, failure: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(failure)), msMax);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
