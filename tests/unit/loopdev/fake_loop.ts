/** The driver of a loop sequence and the kernel behind it, for tests: one FUSE file, loop devices, failures on order. */
import { assert, assertEquals } from "@std/assert";
import { EBUSY, EINVAL, ENOENT, ENXIO } from "../../../src/base/errno.ts";
import type { LoopResult, LoopSequence, LoopStep } from "../../../src/loopdev/loop_step.ts";
import { LoopFlag } from "../../../src/spec/loop.ts";
import { initRequest } from "./fuse_request.ts";

/** Result of a step instead of what the fake would do; a list is used up, one a time, null leaves the fake its way. */
export type Script = Partial<Record<LoopStep["kind"], number | (number | null)[]>>;

const FUSE_FD = 40;
const FILE_FD = 41;

export class FakeLoop {
  /** Kinds of the steps that were asked for, pauses left out. */
  readonly trace: LoopStep["kind"][] = [];
  readonly steps: LoopStep[] = [];
  readonly #script: Script;
  /** What the kernel sends first. */
  init: Uint8Array = initRequest();
  /** Numbers that "find-loop" gives, one after the other; the last stays. */
  free = [3];
  /** Device nodes that are there. */
  readonly nodes = new Set(["/dev/loop3"]);
  /** Processes that have the loop device open. */
  openers = 0;
  /** The openers close the device after so many pauses. */
  closeAfter = Infinity;
  pauses = 0;
  fuseOpen = false;
  fileMade = false;
  mounted = false;
  served = false;
  fileOpen = false;
  /** Flags of the loop devices that are bound, by path. */
  readonly bound = new Map<string, number>();

  constructor(script: Script = {}) {
    this.#script = script;
  }

  /** Runs a sequence to its end. */
  run<Value>(sequence: LoopSequence<Value>): Value {
    let next = sequence.next();
    while (!next.done) next = sequence.next(this.answer(next.value));
    return next.value;
  }

  /** Nothing is left of any device. */
  get isClean(): boolean {
    return !this.fuseOpen && !this.fileMade && !this.mounted && !this.served && !this.fileOpen && this.bound.size === 0;
  }

  step<Kind extends LoopStep["kind"]>(kind: Kind): LoopStep & { kind: Kind } {
    const step = this.steps.find((step) => step.kind === kind);
    assert(step !== undefined, `${kind} was not asked for`);
    return step as LoopStep & { kind: Kind };
  }

  /** Carries out one step. */
  answer(step: LoopStep): LoopResult {
    assert(step.deadlineMs > 0, "every step has a deadline");
    if (step.kind === "pause") return this.#pause();
    this.trace.push(step.kind);
    this.steps.push(step);
    const entry = this.#script[step.kind];
    const scripted = Array.isArray(entry) ? entry.shift() : entry;
    if (scripted !== undefined && scripted !== null) return { result: scripted };
    if (step.kind === "read-request") return { result: this.init.length, data: this.init };
    return { result: this.#outer(step) };
  }

  #pause(): LoopResult {
    if (++this.pauses >= this.closeAfter) this.#close();
    return { result: 0 };
  }

  /** The last user closes the device: that is when an unbinding that waits for it takes place. */
  #close(): void {
    this.openers = 0;
    for (const [path, flags] of this.bound) if ((flags & LoopFlag.AUTOCLEAR) !== 0) this.bound.delete(path);
  }

  #outer(step: LoopStep): number {
    switch (step.kind) {
      case "open-fuse":
        assert(!this.fuseOpen);
        this.fuseOpen = true;
        return FUSE_FD;
      case "make-file":
        this.fileMade = true;
        return 0;
      case "mount":
        assert(this.fileMade && this.fuseOpen, "a mount needs the file and the driver");
        assertEquals(step.fd, FUSE_FD);
        this.mounted = true;
        return 0;
      case "write-answer":
        return step.answer.length;
      case "start-queues":
        assert(this.mounted);
        this.served = true;
        return 0;
      case "unmount":
        if (!this.mounted) return -EINVAL;
        this.mounted = false;
        return 0;
      case "drain-queues":
        assert(!this.mounted, "the queues end with the mount");
        this.served = false;
        return 0;
      case "close-fuse":
        assert(!this.mounted, "the descriptors are the file system");
        assert(!this.served || this.trace.includes("drain-queues"), "the workers read from the descriptors");
        this.fuseOpen = false;
        return 0;
      case "remove-file":
        assert(!this.mounted, "a mount point cannot be removed");
        if (!this.fileMade) return -ENOENT;
        this.fileMade = false;
        return 0;
      default:
        return this.#loop(step);
    }
  }

  #loop(step: LoopStep): number {
    switch (step.kind) {
      case "open-file":
        assert(this.served && !this.fileOpen, "nobody else would answer the open");
        this.fileOpen = true;
        return FILE_FD;
      case "close-file":
        assertEquals([this.fileOpen, step.fd], [true, FILE_FD]);
        this.fileOpen = false;
        return 0;
      case "find-loop":
        return this.free.length > 1 ? this.free.shift()! : this.free[0];
      case "wait-node":
        return this.nodes.has(step.path) ? 0 : -ENOENT;
      case "make-node":
        this.nodes.add(step.path);
        return 0;
      case "remove-node":
        return this.nodes.delete(step.path) ? 0 : -ENOENT;
      case "configure-loop":
        assert(this.fileOpen && this.nodes.has(step.path));
        if (this.bound.has(step.path)) return -EBUSY;
        this.bound.set(step.path, step.flags);
        return 0;
      case "loop-flags":
        return this.bound.get(step.path) ?? -ENXIO;
      case "clear-loop":
        return this.#clear(step.path);
      case "keep-loop":
        return this.#change(step.path, (flags) => flags & ~LoopFlag.AUTOCLEAR);
      default:
        throw new Error(`The fake does not know ${step.kind}`);
    }
  }

  #clear(path: string): number {
    const result = this.#change(path, (flags) => flags | LoopFlag.AUTOCLEAR);
    if (this.openers === 0) this.#close();
    return result;
  }

  #change(path: string, change: (flags: number) => number): number {
    const flags = this.bound.get(path);
    if (flags === undefined) return -ENXIO;
    this.bound.set(path, change(flags));
    return 0;
  }
}
