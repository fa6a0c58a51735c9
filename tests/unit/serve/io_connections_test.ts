import { assertEquals, assertRejects } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { TARGET_CONNECTIONS_MAX } from "../../../src/base/limits.ts";
import { Wake } from "../../../src/io/wake.ts";
import { IoConnections, type NewIoConnection } from "../../../src/serve/io_connections.ts";
import type { AddConnection, CommandFailed, ToTargetWorker } from "../../../src/serve/worker_messages.ts";
import { IoCounter, type IoCounters } from "../../../src/nvme_target/io_counters.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";

/** Workers that only note what they are told: the test says what they answer. */
class FakeWorker {
  static made: FakeWorker[] = [];
  /** What a worker says as it begins, instead of that it is ready. */
  static failure: string | null = null;

  readonly posted: ToTargetWorker[] = [];
  readonly #wake = new Wake();
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message: string; preventDefault(): void }) => void) | null = null;

  constructor(readonly url: URL, readonly options: { name: string }) {
    FakeWorker.made.push(this);
    queueMicrotask(() => {
      if (FakeWorker.failure !== null) this.tell({ type: "failed", reason: FakeWorker.failure });
      else this.tell({ type: "ready", wakeFd: this.#wake.fd, posted: new SharedArrayBuffer(4), warnings: [] });
    });
  }

  postMessage(message: ToTargetWorker): void {
    this.posted.push(message);
  }

  tell(data: unknown): void {
    this.onmessage?.({ data });
  }

  /** The connections that it was given. */
  get added(): AddConnection[] {
    return this.posted.filter((message) => message.type === "add-connection");
  }

  end(): void {
    this.tell({ type: "ended" });
  }
}

/** `IoConnections` over workers that are none. */
class Rig implements Disposable {
  static readonly #own = globalThis.Worker;
  readonly failed: string[] = [];
  readonly heard: (string | null)[] = [];
  readonly errors: CommandFailed[] = [];

  private constructor(readonly connections: IoConnections, readonly workers: FakeWorker[]) {}

  static async start(workers: number, failure: string | null = null): Promise<Rig> {
    FakeWorker.made = [];
    FakeWorker.failure = failure;
    globalThis.Worker = FakeWorker as unknown as typeof Worker;
    const failed: string[] = [];
    try {
      const connections = await IoConnections.start({
        workers,
        namespaces: [],
        table: new TargetTable().shared,
        transferBytesMax: 1 << 20,
        inCapsuleBytes: 8192,
        onWorkerFailed: (reason) => void failed.push(reason),
      });
      const rig = new Rig(connections, FakeWorker.made);
      rig.failed.push(...failed);
      return rig;
    } finally {
      globalThis.Worker = Rig.#own;
    }
  }

  add(qid: number) {
    const connection: NewIoConnection = {
      ...{ fd: 100 + qid, listener: 3, qid },
      transfer: { headerDigest: false, dataDigest: false, hostDataAlignment: 4, hostR2tsMax: 1 },
      queue: { sqEntries: 16, sqFlowControl: false, sqHead: 1 },
      subject: { listener: 3, queue: "io", stream: 9, sinceMs: 5 },
      onFailed: (failed) => void this.errors.push(failed),
      onClosed: (reason) => void this.heard.push(reason),
    };
    return this.connections.add(connection);
  }

  [Symbol.dispose](): void {
    this.connections.stop();
    for (const worker of this.workers) worker.end();
  }
}

Deno.test("IoConnections starts its workers and tells them first what to serve", async () => {
  using rig = await Rig.start(3);
  assertEquals([rig.connections.workers, rig.workers.map(({ options }) => options.name)], [3, [
    "umpath-srv-0",
    "umpath-srv-1",
    "umpath-srv-2",
  ]]);
  for (const { posted } of rig.workers) assertEquals(posted.map(({ type }) => type), ["serve"]);
});

Deno.test("IoConnections gives I/O queue n to one worker, with all that it has to know", async () => {
  using rig = await Rig.start(2);
  for (const qid of [1, 2, 3]) rig.add(qid);
  const [first, second] = rig.workers.map(({ added }) => added);
  assertEquals([first!.map(({ fd }) => fd), second!.map(({ fd }) => fd)], [[101, 103], [102]]);
  const { listener, stream, sinceEpochMs, queue } = first![0]!;
  assertEquals([listener, stream, sinceEpochMs, queue.sqEntries], [3, 9, performance.timeOrigin + 5, 16]);
  assertEquals(new Set([...first!, ...second!].map(({ connection }) => connection)).size, 3);
  assertEquals([rig.connections.count, rig.connections.isFull], [3, false]);
});

Deno.test("IoConnections asks a worker to close a connection, and uses its place again once it is closed", async () => {
  using rig = await Rig.start(1);
  const [worker] = rig.workers;
  const added = rig.add(1);
  const { connection } = worker!.added[0]!;
  added.close();
  assertEquals(worker!.posted.at(-1), { type: "close-connection", connection });
  assertEquals([rig.heard, rig.connections.count], [[], 1]);
  worker!.tell({ type: "connection-closed", connection, reason: null });
  assertEquals([rig.heard, rig.connections.count], [[null], 0]);
  rig.add(2);
  assertEquals(worker!.added[1]!.connection, connection);
  worker!.tell({ type: "connection-closed", connection, reason: "it broke" });
  assertEquals(rig.heard, [null, "it broke"]);
});

Deno.test("IoConnections is full at its bound, and has room again for each that goes", async () => {
  using rig = await Rig.start(1);
  for (let i = 0; i < TARGET_CONNECTIONS_MAX; i++) rig.add(1);
  assertEquals([rig.connections.isFull, rig.connections.count], [true, TARGET_CONNECTIONS_MAX]);
  rig.workers[0]!.tell({ type: "connection-closed", connection: 17, reason: null });
  assertEquals(rig.connections.isFull, false);
});

Deno.test("IoConnections counts what connections have done, those that are gone too", async () => {
  using rig = await Rig.start(1);
  const [kept, gone] = [rig.add(1), rig.add(2)];
  const count = (counters: IoCounters, amount: number) => {
    for (const counter of Object.values(IoCounter)) counters.add(counter, amount);
  };
  count(kept.counters, 1);
  count(gone.counters, 10);
  const sums = (amount: number) => ({
    ...{ reads: amount, writes: amount, readBytes: amount, writeBytes: amount, deviceErrors: amount },
  });
  assertEquals(rig.connections.totals(), sums(11));
  rig.workers[0]!.tell({ type: "connection-closed", connection: rig.workers[0]!.added[1]!.connection, reason: null });
  assertEquals(rig.connections.totals(), sums(11));
  count(kept.counters, 100);
  assertEquals(rig.connections.totals(), sums(111));
});

Deno.test("IoConnections hands errors of commands to their connection, and none to one that is gone", async () => {
  using rig = await Rig.start(1);
  rig.add(1);
  const [worker] = rig.workers;
  const { connection } = worker!.added[0]!;
  const failed = {
    type: "command-failed",
    connection,
    cid: 7,
    status: 0x80,
    nsid: 1,
    lba: 9,
    errno: 28,
    isRead: false,
  };
  worker!.tell(failed);
  worker!.tell({ type: "connection-closed", connection, reason: null });
  worker!.tell({ ...failed, cid: 8 });
  assertEquals(rig.errors, [failed as CommandFailed]);
});

Deno.test("IoConnections tells faults to all workers, and hears of one that fails", async () => {
  using rig = await Rig.start(2);
  rig.connections.tellFaults(null);
  for (const { posted } of rig.workers) assertEquals(posted.at(-1), { type: "faults", plan: null });
  const reason = "Cannot enter the io_uring: out of memory\n    at somewhere";
  const error = await assertRejects(() => Rig.start(1, reason), UmpathError);
  assertEquals(error.code, "host-lacks");
  assertEquals(error.message, "Cannot run a data-plane thread: Cannot enter the io_uring: out of memory");
});
