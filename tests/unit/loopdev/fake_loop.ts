/** The driver of a loop sequence and the kernel behind it, for tests: one FUSE file, loop devices, failures on order. */
import { assert, assertEquals } from "@std/assert";
import { EBUSY, EINVAL, ENOENT, ENXIO, ESTALE } from "../../../src/base/errno.ts";
import type { BoundStep, LoopResult, LoopSequence, LoopStep } from "../../../src/loopdev/loop_step.ts";
import { LoopFlag } from "../../../src/protocol/loop.ts";
import { initRequest } from "./fuse_request.ts";

/** Result of a step instead of what the fake would do; a list is used up, one a time, null leaves the fake its way. */
export type Script = Partial<Record<LoopStep["kind"], number | (number | null)[]>>;

const FUSE_FD = 40;
const FILE_FD = 41;

export class FakeLoop {
  /** Kinds of the steps that were asked for, without pauses and notes. */
  readonly trace: LoopStep["kind"][] = [];
  readonly steps: LoopStep[] = [];
  readonly #script: Script;
  /** What the kernel sends first. */
  init: Uint8Array = initRequest();
  /** Numbers that "add-loop" and "find-loop" give, one after the other; the last stays. */
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
  /** Their sequence numbers; one that is missing is "1". */
  readonly sequences = new Map<string, string>();
  /** Numbers that were added. */
  readonly added = new Set<number>();
  /** Whether the device of a number is noted as detached. */
  readonly notes = new Map<number, boolean>();
  #sequence = 1;

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
    return !this.fuseOpen && !this.fileMade && !this.mounted && !this.served && !this.fileOpen &&
      this.bound.size === 0 &&
      this.added.size === 0 && this.notes.size === 0;
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
    if (step.kind === "note-device" || step.kind === "forget-device") return { result: this.#note(step) };
    this.trace.push(step.kind);
    this.steps.push(step);
    const entry = this.#script[step.kind];
    const scripted = Array.isArray(entry) ? entry.shift() : entry;
    if (scripted !== undefined && scripted !== null) return { result: scripted };
    if (step.kind === "read-request") return { result: this.init.length, data: this.init };
    const result = this.#outer(step);
    return step.kind === "configure-loop" ? { result, sequence: this.sequences.get(step.path)! } : { result };
  }

  #note(step: LoopStep & { kind: "note-device" | "forget-device" }): number {
    const entry = this.#script[step.kind];
    const scripted = Array.isArray(entry) ? entry.shift() : entry;
    if (scripted !== undefined && scripted !== null) return scripted;
    assert(step.device.number >= 0, "a device without a number has no note");
    if (step.kind === "note-device") this.notes.set(step.device.number, step.isDetached);
    else this.notes.delete(step.device.number);
    return 0;
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
        return this.#nextFree();
      case "add-loop":
        return this.#add(this.#nextFree());
      case "remove-loop":
        if (this.bound.has(`/dev/loop${step.number}`)) return -EBUSY;
        return this.added.delete(step.number) ? 0 : -ENOENT;
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
        this.sequences.set(step.path, String(++this.#sequence));
        return 0;
      case "loop-flags":
        return this.#change(step, (flags) => flags) || this.bound.get(step.path)!;
      case "clear-loop":
        return this.#clear(step);
      case "keep-loop":
        return this.#change(step, (flags) => flags & ~LoopFlag.AUTOCLEAR);
      default:
        throw new Error(`The fake does not know ${step.kind}`);
    }
  }

  #nextFree(): number {
    return this.free.length > 1 ? this.free.shift()! : this.free[0]!;
  }

  #add(number: number): number {
    this.added.add(number);
    return number;
  }

  #clear(step: BoundStep<string>): number {
    const result = this.#change(step, (flags) => flags | LoopFlag.AUTOCLEAR);
    if (this.openers === 0) this.#close();
    return result;
  }

  /** As the kernel's side does: another's device is not touched. */
  #change({ path, sequence }: BoundStep<string>, change: (flags: number) => number): number {
    const flags = this.bound.get(path);
    if (flags === undefined) return -ENXIO;
    if (sequence !== (this.sequences.get(path) ?? "1")) return -ESTALE;
    this.bound.set(path, change(flags));
    return 0;
  }
}
