/** The target's NVM subsystem with its discovery service: who may connect, and what every controller shares. */

import { unreachable } from "../base/assert.ts";
import type { AdminAnswer } from "./admin_answer.ts";
import type { Controller } from "./controller.ts";
import type { ListenerDescription, SubsystemDescription } from "./description.ts";
import type { TargetTable } from "./target_table.ts";

export interface SubsystemDeps {
  /** Filled in by the subsystem from its description; ANA states that are 0 become optimized. */
  table: TargetTable;
  listeners: readonly ListenerDescription[];
  /** The time at the start, milliseconds, for the hours of the SMART log; 0 unless told. */
  nowMs?: number;
}

/** How a Connect ended. */
export interface ConnectResult {
  answer: AdminAnswer;
  /** The controller that the queue belongs to; null if the Connect failed. */
  controller: Controller | null;
  qid: number;
  /** Entries of the queue, not 0's based. */
  sqEntries: number;
  sqFlowControl: boolean;
}

/** I/O done since it was last told. */
export interface IoCounts {
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
}

export class Subsystem {
  readonly description: SubsystemDescription;

  constructor(description: SubsystemDescription, _deps: SubsystemDeps) {
    this.description = description;
  }

  get controllers(): Iterable<Controller> {
    return unreachable("Not built yet");
  }

  /** Answers a Connect that came to the listener; `data` is what its capsule carried. */
  connect(_listener: number, _sqe: Uint32Array, _data: Uint8Array, _nowMs: number): ConnectResult {
    return unreachable("Not built yet");
  }

  /** The controller's admin connection is over, and all its I/O connections are. */
  remove(_controller: Controller): void {
    unreachable("Not built yet");
  }

  /** Changes the ANA state (`AnaStateCode`) of a listener and tells the hosts. */
  setAna(_listener: number, _state: number, _nowMs: number): void {
    unreachable("Not built yet");
  }

  /** Changes the size of a namespace and tells the hosts. */
  resize(_nsid: number, _blocks: number): void {
    unreachable("Not built yet");
  }

  setReadOnly(_nsid: number, _readOnly: boolean): void {
    unreachable("Not built yet");
  }

  addListener(_listener: ListenerDescription): void {
    unreachable("Not built yet");
  }

  removeListener(_index: number): void {
    unreachable("Not built yet");
  }

  /** Counts I/O for the SMART log. */
  countIo(_counts: IoCounts): void {
    unreachable("Not built yet");
  }
}
