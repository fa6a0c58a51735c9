/** What the subsystem consists of at the moment: namespaces, listeners, their states and what was counted. */

import { assert } from "../base/assert.ts";
import { AnaStateCode } from "../protocol/nvme_log.ts";
import type { ListenerDescription, NamespaceDescription, SubsystemDescription } from "./description.ts";
import type { TargetTable } from "./target_table.ts";

/** I/O since the start, for the SMART log. */
export interface IoTotals {
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
  /** Commands that failed because what is behind a namespace did. */
  deviceErrors: number;
}

export interface InventoryOptions {
  table: TargetTable;
  listeners: readonly ListenerDescription[];
  startMs: number;
  ioTotals: () => IoTotals;
}

/** ANA states by listener, sizes and write protection are in the table; the rest is here. */
export class Inventory {
  readonly description: SubsystemDescription;
  readonly table: TargetTable;
  /** Monotonic time at the start, milliseconds. */
  readonly startMs: number;
  /** NSIDs in rising order. */
  readonly nsids: readonly number[];
  readonly hasVolatileCache: boolean;
  /** Asked whenever somebody wants to know. */
  readonly ioTotals: () => IoTotals;
  /** Controllers that were lost without a shutdown, for the SMART log. */
  unsafeShutdowns = 0;
  readonly #namespaces = new Map<number, NamespaceDescription>();
  readonly #listeners = new Map<number, ListenerDescription>();
  readonly #anaChanges = new Map<number, number>();
  #discoveryGeneration = 1;

  constructor(description: SubsystemDescription, options: InventoryOptions) {
    this.description = description;
    this.table = options.table;
    this.startMs = options.startMs;
    this.ioTotals = options.ioTotals;
    for (const namespace of description.namespaces) this.#addNamespace(namespace);
    this.nsids = [...this.#namespaces.keys()].sort((a, b) => a - b);
    this.hasVolatileCache = description.namespaces.some((namespace) => namespace.volatileCache);
    for (const listener of options.listeners) this.#keepListener(listener);
  }

  #addNamespace(namespace: NamespaceDescription): void {
    assert(!this.#namespaces.has(namespace.nsid), `Namespace ${namespace.nsid} is there once`);
    this.#namespaces.set(namespace.nsid, namespace);
    this.table.setBlocks(namespace.index, namespace.blocks);
    this.table.setReadOnly(namespace.index, namespace.readOnly);
  }

  namespace(nsid: number): NamespaceDescription | null {
    return this.#namespaces.get(nsid) ?? null;
  }

  /** Size in blocks, as it is now. */
  blocks(namespace: NamespaceDescription): number {
    return this.table.blocks(namespace.index);
  }

  isReadOnly(namespace: NamespaceDescription): boolean {
    return this.table.isReadOnly(namespace.index);
  }

  // ── listeners ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** In the order of their index. */
  get listeners(): ListenerDescription[] {
    return [...this.#listeners.values()].sort((a, b) => a.index - b.index);
  }

  listener(index: number): ListenerDescription | null {
    return this.#listeners.get(index) ?? null;
  }

  /** Changes with every listener that comes or goes. */
  get discoveryGeneration(): number {
    return this.#discoveryGeneration;
  }

  addListener(listener: ListenerDescription): void {
    this.#keepListener(listener);
    this.#discoveryGeneration++;
  }

  /** False if there is none. */
  removeListener(index: number): boolean {
    if (!this.#listeners.delete(index)) return false;
    this.#discoveryGeneration++;
    return true;
  }

  #keepListener(listener: ListenerDescription): void {
    this.#listeners.set(listener.index, listener);
    if (this.table.ana(listener.index) === 0) this.table.setAna(listener.index, AnaStateCode.OPTIMIZED);
  }

  // ── ANA ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  ana(listener: number): number {
    return this.table.ana(listener);
  }

  /** How often the ANA state of a listener has changed, from 1 on. */
  anaChangeCount(listener: number): number {
    return this.#anaChanges.get(listener) ?? 1;
  }

  /** False if it is in that state already. */
  setAna(listener: number, state: number): boolean {
    if (this.table.ana(listener) === state) return false;
    this.table.setAna(listener, state);
    this.#anaChanges.set(listener, this.anaChangeCount(listener) + 1);
    return true;
  }

  // ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  isHostAllowed(hostNqn: string): boolean {
    return this.description.allowedHosts === null || this.description.allowedHosts.includes(hostNqn);
  }
}
