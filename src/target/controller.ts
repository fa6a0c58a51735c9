/** One controller of the target: its properties, admin commands, events and keep alive. */

import { unreachable } from "../base/assert.ts";
import type { AdminAnswer } from "./admin_answer.ts";

export interface ControllerIdentity {
  cntlid: number;
  /** Index of the listener that its admin connection came to. */
  listener: number;
  hostNqn: string;
  /** 16 bytes. */
  hostId: Uint8Array;
  isDiscovery: boolean;
}

/** What {@linkcode Controller.pollTask} asks for. */
export type ControllerTask = "close-io-queues";

/** An asynchronous event request that is answered now. */
export interface ParkedAnswer {
  /** As given to {@linkcode Controller.park}. */
  slot: number;
  answer: AdminAnswer;
}

export class Controller {
  readonly cntlid: number;
  readonly listener: number;
  readonly hostNqn: string;
  readonly hostId: Uint8Array;
  readonly isDiscovery: boolean;

  constructor(identity: ControllerIdentity) {
    this.cntlid = identity.cntlid;
    this.listener = identity.listener;
    this.hostNqn = identity.hostNqn;
    this.hostId = identity.hostId;
    this.isDiscovery = identity.isDiscovery;
  }

  /** Bytes that the host has to send for this command: the data to fetch before {@linkcode handleCommand}. */
  dataNeeded(_sqe: Uint32Array): number {
    return unreachable("Not built yet");
  }

  /** Executes an admin or Fabrics command of the admin queue; null: an event request, to be parked by its slot. */
  handleCommand(_sqe: Uint32Array, _data: Uint8Array | null, _nowMs: number): AdminAnswer | null {
    return unreachable("Not built yet");
  }

  /** Keeps the slot of the event request that {@linkcode handleCommand} has just given null for. */
  park(_slot: number): void {
    unreachable("Not built yet");
  }

  /** The next event request that is to be answered now, or null. */
  pollEvent(): ParkedAnswer | null {
    return unreachable("Not built yet");
  }

  /** Tells the time, after all commands that have arrived. */
  handleTime(_nowMs: number): void {
    unreachable("Not built yet");
  }

  /** The host has not kept the controller alive: the association is to be ended. */
  get isExpired(): boolean {
    return unreachable("Not built yet");
  }

  /** When {@linkcode handleTime} has something to do next, milliseconds; infinite without keep alive. */
  get nextDeadlineMs(): number {
    return unreachable("Not built yet");
  }

  /** What the caller has to do now, told once; null: nothing. */
  pollTask(): ControllerTask | null {
    return unreachable("Not built yet");
  }

  /** The I/O connections are closed and none of their commands is executed any more. */
  handleIoQueuesClosed(): void {
    unreachable("Not built yet");
  }

  /** An I/O connection is closed and quiet: its queue identifier can be connected again. */
  freeQueue(_qid: number): void {
    unreachable("Not built yet");
  }
}
