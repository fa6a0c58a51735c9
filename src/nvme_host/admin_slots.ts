/**
 * The slots of an admin queue and who waits for one. Keep Alive and the asynchronous event request have one each to
 * themselves, since neither may wait for other commands; all others share the rest, and take turns.
 *
 * Invariant: a command waits only while every slot that it may have is taken. Pure.
 */

import { assert } from "../base/assert.ts";
import { AdminOpcode, SqeAt } from "../protocol/nvme.ts";
import type { AdminCommand } from "./commands.ts";

type Lane = "keep-alive" | "event" | "shared";

const SLOT_KEEP_ALIVE = 0;
const SLOT_EVENT = 1;
const SLOT_SHARED = 2;

/** Commands that may wait in a lane: more than all that one association ever wants at once. */
const WAITING_MAX = 64;

/** More commands wait for a slot than can be right. The connection itself is well. */
export class AdminQueueFull extends Error {
  override name = "AdminQueueFull";
  constructor() {
    super("too many admin commands wait for their turn");
  }
}

export class AdminSlots<Waiter extends { readonly command: AdminCommand }> {
  readonly #free: Record<Lane, number[]>;
  readonly #waiting: Record<Lane, Waiter[]> = { "keep-alive": [], event: [], shared: [] };

  constructor(slots: number) {
    assert(slots > SLOT_SHARED, "An admin queue has slots besides those that are kept free");
    const shared = Array.from({ length: slots - SLOT_SHARED }, (_, i) => slots - 1 - i);
    this.#free = { "keep-alive": [SLOT_KEEP_ALIVE], event: [SLOT_EVENT], shared };
  }

  /**
   * The slot of a command that may go out now; -1 if it waits for one.
   *
   * @throws AdminQueueFull
   */
  enter(waiter: Waiter): number {
    const lane = laneOf(waiter.command);
    const slot = this.#free[lane].pop();
    if (slot !== undefined) return slot;
    if (this.#waiting[lane].length >= WAITING_MAX) throw new AdminQueueFull();
    this.#waiting[lane].push(waiter);
    return -1;
  }

  /** A slot is free again: who has it next, or null. */
  leave(slot: number): Waiter | null {
    const lane = slot === SLOT_KEEP_ALIVE ? "keep-alive" : slot === SLOT_EVENT ? "event" : "shared";
    const next = this.#waiting[lane].shift();
    if (next !== undefined) return next;
    assert(!this.#free[lane].includes(slot), `Slot ${slot} is given back once`);
    this.#free[lane].push(slot);
    return null;
  }

  /** All that wait, who do so no longer. */
  drain(): Waiter[] {
    return Object.values(this.#waiting).flatMap((waiting) => waiting.splice(0));
  }
}

function laneOf({ sqe }: AdminCommand): Lane {
  const opcode = sqe[SqeAt.OPC];
  if (opcode === AdminOpcode.KEEP_ALIVE) return "keep-alive";
  return opcode === AdminOpcode.ASYNC_EVENT_REQUEST ? "event" : "shared";
}
