/**
 * A TCP proxy before a target that sees NVMe/TCP PDUs: what a storage system says can be changed on the way, and the
 * way can be stalled or cut. It knows no more of the protocol than the common header (NVMe/TCP 1.0, section 3.6.1).
 */
import type { NvmetPort } from "./nvmet.ts";

const HEADER_BYTES = 8;
const PLEN_OFFSET = 4;

/** One direction's PDU and where it stands. */
export interface PduPlace {
  /** Connections of the proxy count from 0; the first of a path is its admin queue. */
  connection: number;
  /** PDUs of this direction of the connection count from 0. */
  index: number;
}

/** What becomes of a PDU: other bytes, `"cut"` after `bytes`, or silence from there on. */
export type PduFate = Uint8Array | { bytes: Uint8Array; then: "cut" | "silence" };

/** How the proxy is made. */
export interface PduProxyOptions {
  listen: NvmetPort;
  target: NvmetPort;
  /** Sees what the host sends. */
  onCommand?: (pdu: Uint8Array, place: PduPlace) => void;
  /** Sees what the target sends, and says what the host gets. */
  onAnswer?: (pdu: Uint8Array, place: PduPlace) => PduFate;
}

/** A running proxy. */
export class PduProxy implements AsyncDisposable {
  /** Connections so far. */
  connections = 0;
  readonly #options: PduProxyOptions;
  readonly #listener: Deno.TcpListener;
  readonly #open = new Set<Deno.TcpConn>();
  readonly #tasks = new Set<Promise<void>>();
  #gate: PromiseWithResolvers<void> | null = null;

  private constructor(options: PduProxyOptions, listener: Deno.TcpListener) {
    this.#options = options;
    this.#listener = listener;
    this.#start(this.#accept());
  }

  /** Listens. */
  static listen(options: PduProxyOptions): PduProxy {
    const { addr, port } = options.listen;
    return new PduProxy(options, Deno.listen({ hostname: addr, port }));
  }

  /** Nothing goes through any more, yet the connections stay. */
  stall(): void {
    this.#gate ??= Promise.withResolvers();
  }

  /** What was stalled goes on. */
  resume(): void {
    this.#gate?.resolve();
    this.#gate = null;
  }

  /** Ends all connections; new ones are taken. */
  cut(): void {
    for (const conn of this.#open) closeQuietly(conn);
    this.#open.clear();
    this.resume();
  }

  async close(): Promise<void> {
    closeQuietly(this.#listener);
    this.cut();
    await Promise.all(this.#tasks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #start(task: Promise<void>): void {
    // A connection that ends in the middle is what a proxy lives with.
    const quiet = task.catch(() => {}).finally(() => this.#tasks.delete(quiet));
    this.#tasks.add(quiet);
  }

  async #accept(): Promise<void> {
    for await (const host of this.#listener) this.#start(this.#serve(host, this.connections++));
  }

  async #serve(host: Deno.TcpConn, connection: number): Promise<void> {
    const { addr, port } = this.#options.target;
    this.#open.add(host);
    const target = await Deno.connect({ hostname: addr, port });
    this.#open.add(target);
    const { onCommand, onAnswer } = this.#options;
    try {
      await Promise.race([
        this.#relay(host, target, (pdu, index) => {
          onCommand?.(pdu, { connection, index });
          return pdu;
        }),
        this.#relay(target, host, (pdu, index) => onAnswer?.(pdu, { connection, index }) ?? pdu),
      ]);
    } finally {
      for (const conn of [host, target]) {
        closeQuietly(conn);
        this.#open.delete(conn);
      }
    }
  }

  async #relay(from: Deno.TcpConn, to: Deno.TcpConn, fateOf: (pdu: Uint8Array, index: number) => PduFate) {
    let index = 0;
    let isSilent = false;
    for await (const pdu of readPdus(from)) {
      // Silence lasts until somebody else ends the connection.
      if (isSilent) continue;
      const fate = fateOf(pdu, index++);
      if (this.#gate !== null) await this.#gate.promise;
      if (fate instanceof Uint8Array) {
        await writeAll(to, fate);
        continue;
      }
      await writeAll(to, fate.bytes);
      if (fate.then === "cut") return;
      isSilent = true;
    }
  }
}

/** The PDUs of a connection, whole. */
async function* readPdus(conn: Deno.TcpConn): AsyncGenerator<Uint8Array> {
  let held = new Uint8Array(0);
  for await (const chunk of conn.readable.values({ preventCancel: true })) {
    held = held.length === 0 ? chunk : concat(held, chunk);
    while (held.length >= HEADER_BYTES) {
      const bytes = new DataView(held.buffer, held.byteOffset).getUint32(PLEN_OFFSET, true);
      if (bytes < HEADER_BYTES) throw new Error(`A PDU has ${bytes} bytes`);
      if (held.length < bytes) break;
      yield held.subarray(0, bytes);
      held = held.subarray(bytes);
    }
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await conn.write(bytes.subarray(done));
}

function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // Closed already.
  }
}
