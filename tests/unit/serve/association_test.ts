import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Association, type AssociationQueue } from "../../../src/serve/association.ts";
import { IoCounters } from "../../../src/nvme_target/io_counters.ts";

/** A controller and its I/O connections that note what is done to them, in order. */
class Rig {
  readonly done: string[] = [];
  /** What the controller asks for when it is asked. */
  task: "close-io-queues" | null = null;
  readonly association = new Association({
    pollTask: () => {
      const task = this.task;
      this.task = null;
      return task;
    },
    handleIoQueuesClosed: () => void this.done.push("all closed"),
    freeQueue: (qid) => void this.done.push(`free ${qid}`),
  }, () => void this.done.push("over"));

  add(qid: number): void {
    const queue: AssociationQueue = { counters: new IoCounters(), close: () => void this.done.push(`close ${qid}`) };
    this.association.addQueue(qid, queue);
  }

  take(): string[] {
    return this.done.splice(0);
  }
}

Deno.test("Association frees the queue identifier of an I/O connection that is lost, and goes on", () => {
  const rig = new Rig();
  rig.add(1);
  rig.add(2);
  rig.association.handleQueueClosed(1);
  assertEquals(rig.take(), ["free 1"]);
  assertEquals([...rig.association.queues.keys()], [2]);
  rig.add(1);
  assertEquals(rig.take(), []);
});

Deno.test("Association tells its controller that the I/O queues are closed once all of them are quiet", () => {
  const rig = new Rig();
  rig.add(1);
  rig.add(2);
  rig.task = "close-io-queues";
  rig.association.poll();
  assertEquals(rig.take(), ["close 1", "close 2"]);
  rig.association.handleQueueClosed(2);
  assertEquals(rig.take(), ["free 2"]);
  rig.association.handleQueueClosed(1);
  assertEquals(rig.take(), ["free 1", "all closed"]);
  rig.association.poll();
  assertEquals(rig.take(), [], "nothing is asked for any more");
});

Deno.test("Association closes an I/O connection that comes while they are closed, and one that comes too late", () => {
  const rig = new Rig();
  rig.add(1);
  rig.task = "close-io-queues";
  rig.association.poll();
  rig.add(2);
  assertEquals(rig.take(), ["close 1", "close 2"]);
  rig.association.handleQueueClosed(1);
  rig.association.handleQueueClosed(2);
  assertEquals(rig.take(), ["free 1", "free 2", "all closed"]);
  rig.association.handleAdminEnd();
  assertEquals(rig.take(), ["over"]);
  rig.add(3);
  assertEquals(rig.take(), ["close 3"]);
});

Deno.test("Association without I/O queues answers at once that they are closed", () => {
  const rig = new Rig();
  rig.task = "close-io-queues";
  rig.association.poll();
  assertEquals(rig.take(), ["all closed"]);
});

Deno.test("Association is over only when its last I/O connection is quiet, so that no write lands later", () => {
  const rig = new Rig();
  rig.add(1);
  rig.add(2);
  rig.association.handleAdminEnd();
  assertEquals([rig.association.isEnding, ...rig.take()], [true, "close 1", "close 2"]);
  rig.association.handleQueueClosed(1);
  assertEquals(rig.take(), ["free 1"]);
  rig.task = "close-io-queues";
  rig.association.poll();
  assertEquals(rig.take(), [], "they are being closed already");
  rig.association.handleQueueClosed(2);
  assertEquals(rig.take(), ["free 2", "over"]);
});

Deno.test("Association asserts that a queue is open once, and that its admin connection ends once", () => {
  const rig = new Rig();
  rig.add(1);
  assertThrows(() => rig.add(1), AssertionFailure);
  assertThrows(() => rig.association.handleQueueClosed(2), AssertionFailure);
  rig.association.handleAdminEnd();
  assertThrows(() => rig.association.handleAdminEnd(), AssertionFailure);
});
