import { assert } from "../../base/assert.ts";
import { HandoverTable } from "../../multipath/handover_table.ts";
import { chooseHelpers, dealLinks } from "../../multipath/link_deal.ts";
import type { PathTable } from "../../multipath/path_table.ts";
import { RegionPlaces } from "../../io/region_places.ts";
import type { Neighbours } from "../worker/worker_messages.ts";

/** One I/O queue pair of a path, in one queue of the volume. */
export interface VolumeLink {
  /** Never used twice in the life of a daemon. */
  readonly id: number;
  readonly path: number;
  /** The volume's queue that sends over it. */
  readonly queue: number;
  readonly closed: PromiseWithResolvers<void>;
}

let nextLink = 1;

/** Which queue of a volume has which links, and which queue serves the requests of one that has none. */
export class VolumeLinks {
  readonly #table: PathTable;
  readonly #links = new Map<number, VolumeLink>();
  #handover: HandoverTable | null = null;
  #places = RegionPlaces.shared(0);
  #queues = 0;

  constructor(table: PathTable) {
    this.#table = table;
  }

  /** The volume has so many queues. */
  begin(queues: number): void {
    assert(this.#links.size === 0, "The queues are there before any link");
    this.#queues = queues;
    this.#handover = queues > 1 ? new HandoverTable(queues) : null;
    this.#places = RegionPlaces.shared(queues);
  }

  /** What the worker of a queue has to know of the others; null if there are none. */
  neighboursOf(queue: number, wakeFds: number[]): Neighbours | null {
    if (this.#handover === null) return null;
    return { queue, handover: this.#handover.shared, places: this.#places, wakeFds };
  }

  /** Deals so many links of a path, at most one for each queue. */
  deal(path: number, links: number): VolumeLink[] {
    const counts = new Array<number>(this.#queues).fill(0);
    for (const { queue } of this.#links.values()) counts[queue]++;
    return dealLinks(links, counts).map((queue) => {
      const link = { id: nextLink++, path, queue, closed: Promise.withResolvers<void>() };
      this.#links.set(link.id, link);
      return link;
    });
  }

  of(path: number): VolumeLink[] {
    return [...this.#links.values()].filter((link) => link.path === path);
  }

  find(id: number): VolumeLink | null {
    return this.#links.get(id) ?? null;
  }

  /** The links are closed. */
  forget(links: readonly VolumeLink[]): void {
    for (const { id } of links) this.#links.delete(id);
  }

  /** Links or paths have changed: which queue helps which is decided anew. */
  judgeHelpers(): void {
    if (this.#handover === null) return;
    const serves = new Array<boolean>(this.#queues).fill(false);
    for (const { path, queue } of this.#links.values()) {
      if (this.#table.isUsable(path) && this.#table.anaRank(path) > 0) serves[queue] = true;
    }
    for (const [queue, helper] of chooseHelpers(serves).entries()) this.#handover.setHelper(queue, helper);
  }
}
