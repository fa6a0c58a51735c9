import { assert } from "../base/assert.ts";
import type { IoCounters } from "../nvme_target/io_counters.ts";

/** What an association needs of its controller. */
export interface AssociationController {
  pollTask(): "close-io-queues" | null;
  handleIoQueuesClosed(): void;
  freeQueue(qid: number): void;
}

/** An I/O connection of it, which tells `Association.handleQueueClosed()` when it is quiet. */
export interface AssociationQueue {
  readonly counters: IoCounters;
  close(): void;
}

/**
 * A controller's admin connection and its I/O connections, and in which order they end:
 *
 * - An I/O connection that is lost frees its queue identifier, and nothing more.
 * - When the controller asks for its I/O queues to be closed (it is disabled, shut down or failed), it is told that they
 *   are only when none of their commands is under way any more.
 * - When the admin connection is over, all I/O connections are closed; only once they are quiet is the association over,
 *   so that no write of a host lands after its controller is gone.
 */
export class Association {
  readonly #controller: AssociationController;
  readonly #queues = new Map<number, AssociationQueue>();
  readonly #onOver: () => void;
  #isClosingQueues = false;
  #isEnding = false;

  /** `onOver` is called once, when nothing of it is left. */
  constructor(controller: AssociationController, onOver: () => void) {
    this.#controller = controller;
    this.#onOver = onOver;
  }

  get queues(): ReadonlyMap<number, AssociationQueue> {
    return this.#queues;
  }

  /** The admin connection is over. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** An I/O connection is open. If none is wanted any more, it is closed at once. */
  addQueue(qid: number, queue: AssociationQueue): void {
    assert(!this.#queues.has(qid), "A queue identifier is connected once at a time");
    this.#queues.set(qid, queue);
    if (this.#isClosingQueues || this.#isEnding) queue.close();
  }

  /** The I/O connection is gone, and none of its commands is under way. */
  handleQueueClosed(qid: number): void {
    assert(this.#queues.delete(qid), "A queue that is closed was open");
    this.#controller.freeQueue(qid);
    this.#settle();
  }

  /** Does what the controller asks for; to be called whenever it has been told anything. */
  poll(): void {
    if (this.#controller.pollTask() === null || this.#isEnding) return;
    this.#isClosingQueues = true;
    this.#closeQueues();
    this.#settle();
  }

  handleAdminEnd(): void {
    assert(!this.#isEnding, "An admin connection ends once");
    this.#isEnding = true;
    this.#closeQueues();
    this.#settle();
  }

  #closeQueues(): void {
    for (const queue of this.#queues.values()) queue.close();
  }

  #settle(): void {
    if (this.#queues.size > 0) return;
    if (this.#isClosingQueues) {
      this.#isClosingQueues = false;
      this.#controller.handleIoQueuesClosed();
    }
    if (this.#isEnding) this.#onOver();
  }
}
