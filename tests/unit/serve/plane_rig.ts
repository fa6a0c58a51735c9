/** The worker side of a target in the thread of the test: a real ring, real files, and hosts at the end of a socket pair. */
import { assertEquals, fail } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { EAGAIN } from "../../../src/base/errno.ts";
import { Wake } from "../../../src/io/wake.ts";
import { TargetPlane } from "../../../src/serve/target_plane.ts";
import type { AddConnection, FromTargetWorker, ServedNamespace } from "../../../src/serve/worker_messages.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { IoCounters } from "../../../src/nvme_target/io_counters.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";
import { type CommandFields, NaiveHost, response, type TargetPdu } from "../nvme_target/naive_host.ts";

const [AF_UNIX, SOCK_STREAM] = [1, 1];
/** Far longer than anything here takes: it only ends a test that would hang. */
const WAIT_MS_MAX = 20_000;

/** A worker with one listener, whose ANA state is optimized. */
export class PlaneRig implements Disposable {
  readonly table = new TargetTable();
  readonly told: FromTargetWorker[] = [];
  readonly plane = new TargetPlane((message) => void this.told.push(message));
  readonly hosts: IoHost[] = [];

  constructor(namespaces: readonly ServedNamespace[], blocks = 1024) {
    for (const { index } of namespaces) this.table.setBlocks(index, blocks);
    this.table.setAna(0, AnaStateCode.OPTIMIZED);
    const limits = { transferBytesMax: 64 << 10, inCapsuleBytes: 8192 };
    this.plane.handleMessage({ type: "serve", namespaces, table: this.table.shared, ...limits });
  }

  /** Gives the worker another I/O queue. */
  connect(more: Partial<AddConnection> = {}): IoHost {
    const [fd, hostFd] = socketPair();
    const host = new IoHost(this, hostFd, this.hosts.length);
    this.hosts.push(host);
    this.plane.handleMessage({
      type: "add-connection",
      connection: host.connection,
      fd,
      listener: 0,
      transfer: { headerDigest: false, dataDigest: false, hostDataAlignment: 4, hostR2tsMax: 1 },
      queue: { sqEntries: 16, sqFlowControl: false, sqHead: 1 },
      stream: 0,
      sinceEpochMs: performance.timeOrigin + performance.now(),
      counters: host.counters.shared,
      ...more,
    });
    return host;
  }

  /** Lets the worker work until `holds`. */
  runUntil(what: string, holds: () => boolean): void {
    for (const end = performance.now() + WAIT_MS_MAX; !holds();) {
      if (performance.now() > end) fail(`The worker has not come to this: ${what}`);
      Wake.signal(this.plane.wake.fd);
      this.plane.run();
    }
  }

  /** Closes all connections and waits until they are quiet. */
  [Symbol.dispose](): void {
    const isOver = (host: IoHost) => this.closed(host.connection) !== undefined;
    for (const host of this.hosts) {
      if (!isOver(host)) this.plane.handleMessage({ type: "close-connection", connection: host.connection });
    }
    this.runUntil("all connections are closed", () => this.hosts.every(isOver));
    const { fd } = this.plane.wake;
    this.plane[Symbol.dispose]();
    Wake.close(fd);
    for (const host of this.hosts) native().um_close(host.fd);
  }

  closed(connection: number): FromTargetWorker | undefined {
    return this.told.find((message) => message.type === "connection-closed" && message.connection === connection);
  }
}

/** The host's end of an I/O queue. */
export class IoHost {
  readonly host = new NaiveHost();
  readonly counters = new IoCounters();
  readonly #rig: PlaneRig;
  #cid = 0;

  constructor(rig: PlaneRig, readonly fd: number, readonly connection: number) {
    this.#rig = rig;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    assertEquals(native().um_socket_send(this.fd, bytes, bytes.length), bytes.length, "the host can send");
  }

  /** PDUs that have come since; what came at the end of the connection is none. */
  take(): TargetPdu[] {
    const bytes = new Uint8Array(256 << 10);
    const pdus: TargetPdu[] = [];
    for (;;) {
      const got = native().um_socket_receive(this.fd, bytes, bytes.length);
      if (got <= 0) return pdus;
      pdus.push(...this.host.receive(bytes.subarray(0, got)));
    }
  }

  /** True once the worker has closed its end. */
  get isClosed(): boolean {
    const got = native().um_socket_receive(this.fd, new Uint8Array(1), 1);
    return got !== -EAGAIN && got <= 0;
  }

  /** Sends a command and waits for its answer: the status, and what was read. */
  command(fields: Omit<CommandFields, "cid">): { status: number; data: Uint8Array } {
    const cid = ++this.#cid;
    this.send(this.host.command({ cid, ...fields }));
    const pdus: TargetPdu[] = [];
    const isAnswered = () => {
      pdus.push(...this.take());
      return pdus.some(({ type, flags }) => type === 5 || (type === 7 && (flags & 8) !== 0));
    };
    this.#rig.runUntil(`command ${cid} is answered`, isAnswered);
    const data = pdus.filter(({ type }) => type === 7).flatMap(({ data }) => [...data]);
    const last = pdus.at(-1)!;
    if (last.type === 5) assertEquals(response(last).cid, cid);
    return { status: last.type === 5 ? response(last).status : 0, data: new Uint8Array(data) };
  }

  write(lba: number, data: Uint8Array, { fua = false, nsid = 1 } = {}): number {
    return this.command({ opcode: 0x01, data, dwords: rangeWords(lba, data.length, { fua, nsid }) }).status;
  }

  read(lba: number, bytes: number, nsid = 1): { status: number; data: Uint8Array } {
    return this.command({ opcode: 0x02, sgl: { length: bytes }, dwords: rangeWords(lba, bytes, { nsid }) });
  }

  /** Flush, of all namespaces by default. */
  flush(nsid = 0xffffffff): number {
    return this.command({ opcode: 0x00, dwords: { 1: nsid } }).status;
  }

  writeZeroes(lba: number, bytes: number, nsid = 1): number {
    return this.command({ opcode: 0x08, dwords: rangeWords(lba, bytes, { nsid }) }).status;
  }
}

/** Dwords of a command on blocks of 4096 bytes. */
function rangeWords(lba: number, bytes: number, { fua = false, nsid = 1 } = {}): Record<number, number> {
  return { 1: nsid, 10: lba, 11: 0, 12: (bytes / 4096 - 1) | (fua ? 1 << 30 : 0) };
}

function socketPair(): [number, number] {
  const libc = Deno.dlopen("libc.so.6", {
    socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  });
  const fds = new Int32Array(2);
  const result = libc.symbols.socketpair(AF_UNIX, SOCK_STREAM, 0, new Uint8Array(fds.buffer));
  libc.close();
  assertEquals(result, 0, "there is a pair of sockets");
  return [fds[0]!, fds[1]!];
}
