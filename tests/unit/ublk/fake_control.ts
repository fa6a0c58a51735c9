/** The driver of a control sequence and the kernel behind it, for tests: one device, and failures on order. */
import { assert } from "@std/assert";
import { EAGAIN, EBUSY, EINVAL, ENODEV, EOPNOTSUPP } from "../../../src/base/errno.ts";
import { legacyOp, UBLK_ANY_DEVICE, UBLK_NO_QUEUE, UblkCommand, UblkDevInfo } from "../../../src/protocol/ublk.ts";
import type { CommandStep, ControlSequence, ControlStep, Server } from "../../../src/ublk/control.ts";

/** Result of a step instead of what the fake would do; a list is used up, one a time. */
export type Script = Record<string, number | number[]>;

/** A command's name, or the kind of another step. */
export function stepName(step: ControlStep): string {
  return step.kind === "command" ? step.name : step.kind;
}

export class FakeControl {
  /** Names of the steps that were asked for, pauses left out. */
  readonly trace: string[] = [];
  readonly steps: ControlStep[] = [];
  readonly #script: Script;
  /** What GET_FEATURES answers; null: the driver has none. */
  features: bigint | null = (1n << 20n) - 1n;
  /** What ADD_DEV gives instead of what was asked. */
  granted: { queues?: number; depth?: number; maxIoBytes?: number } = {};
  /** The id that ADD_DEV picks. */
  devId = 7;
  alivePids: number[] = [];
  /** When processes started, where it is not when the server did. */
  readonly starts = new Map<number, string>();
  openers = 0;
  info: Uint8Array | null = null;
  charOpen = false;
  fetched = false;
  live = false;
  pauses = 0;

  constructor(script: Script = {}) {
    this.#script = script;
  }

  /** Runs a sequence to its end. */
  run<Value>(sequence: ControlSequence<Value>): Value {
    let next = sequence.next();
    while (!next.done) next = sequence.next({ result: this.#perform(next.value) });
    return next.value;
  }

  /** Nothing is left of any device. */
  get isClean(): boolean {
    return this.info === null && !this.charOpen && !this.fetched && !this.live;
  }

  #perform(step: ControlStep): number {
    assert(step.deadlineMs > 0, "every step has a deadline");
    if (step.kind === "pause") return this.pauses++;
    const name = stepName(step);
    this.trace.push(name);
    this.steps.push(step);
    const scripted = this.#scripted(name);
    return scripted ?? (step.kind === "command" ? this.#command(step) : this.#other(step));
  }

  #scripted(name: string): number | undefined {
    const entry = this.#script[name];
    return Array.isArray(entry) ? entry.shift() : entry;
  }

  #other(step: ControlStep): number {
    switch (step.kind) {
      case "open-char-device":
        if (this.charOpen) return -EBUSY;
        this.charOpen = true;
        return 33;
      case "close-char-device":
        assert(this.charOpen && !this.fetched, "the queues are drained before their device is closed");
        this.charOpen = false;
        return 0;
      case "start-queues":
        assert(this.charOpen, "the queues are mapped from an open device");
        this.fetched = true;
        return 0;
      case "drain-queues":
        assert(!this.live, "tags are aborted by STOP_DEV");
        this.fetched = false;
        return 0;
      case "server-runs":
        return this.alivePids.includes(step.server.pid) && this.#started(step.server) ? 1 : 0;
      default:
        return 0;
    }
  }

  #started({ pid, start }: Server): boolean {
    return start === null || (this.starts.get(pid) ?? start) === start;
  }

  #command(step: CommandStep): number {
    assert(step.queueId === UBLK_NO_QUEUE);
    const encoded = step.op === UblkCommand[step.name];
    assert(encoded || step.op === legacyOp(UblkCommand[step.name]));
    if (step.name === "GET_FEATURES") return this.#getFeatures(step, encoded);
    assert(encoded === (this.features !== null), "commands are encoded where the driver takes that");
    if (step.name === "ADD_DEV") return this.#addDevice(step);
    if (this.info === null || step.devId !== this.devId) return -ENODEV;
    return this.#deviceCommand(step);
  }

  #getFeatures(step: CommandStep, encoded: boolean): number {
    assert(encoded && step.buffer?.length === 8);
    if (this.features === null) return -EOPNOTSUPP;
    new DataView(step.buffer!.buffer).setBigUint64(0, this.features, true);
    return 0;
  }

  #addDevice(step: CommandStep): number {
    const view = new DataView(step.buffer!.buffer);
    assert(step.buffer!.length === 64 && view.getUint32(UblkDevInfo.devId, true) === step.devId);
    if (step.devId !== UBLK_ANY_DEVICE) this.devId = step.devId;
    const { queues, depth, maxIoBytes } = this.granted;
    view.setUint32(UblkDevInfo.devId, this.devId, true);
    if (queues !== undefined) view.setUint16(UblkDevInfo.nrHwQueues, queues, true);
    if (depth !== undefined) view.setUint16(UblkDevInfo.queueDepth, depth, true);
    if (maxIoBytes !== undefined) view.setUint32(UblkDevInfo.maxIoBufBytes, maxIoBytes, true);
    this.info = step.buffer!.slice();
    return 0;
  }

  #deviceCommand(step: CommandStep): number {
    switch (step.name) {
      case "SET_PARAMS":
        return step.buffer!.length === 60 ? 0 : -EINVAL;
      case "START_DEV":
        assert(this.fetched, "START_DEV would wait for FETCH_REQs that nobody sends");
        this.live = true;
        return 0;
      case "TRY_STOP_DEV":
        if (this.openers > 0) return -EBUSY;
        this.live = false;
        return 0;
      case "STOP_DEV":
        this.live = false;
        return 0;
      case "DEL_DEV":
      case "DEL_DEV_ASYNC":
        assert(!this.charOpen, "DEL_DEV would wait for the open character device");
        this.info = null;
        return 0;
      case "GET_DEV_INFO":
        step.buffer!.set(this.info!);
        return 0;
      default:
        return -EAGAIN;
    }
  }
}
