/**
 * Notices that the main thread stands still. It counts its beats in shared memory; a data-plane thread, which goes on
 * serving I/O, looks at them and says where the main thread stands: nobody else could, and everything but I/O depends
 * on it.
 */
import { assert } from "../../base/assert.ts";
import { formatDuration } from "../../base/units.ts";

/** How often the main thread moves the word. */
export const BEAT_MS = 250;
/** How often a data-plane thread looks at it. */
export const LOOK_MS = 1_000;
/** For so long the word may stay as it is. */
export const STILL_MS_MAX = 5_000;

/** How every system call begins: it tells nothing. */
const ENTRY = /^(do_syscall|entry_SYSCALL|x64_sys_call|el0|invoke_syscall|do_el0_svc)/;

/** What is to be said. */
export type Standstill = { kind: "still" | "moves"; forMs: number };

/** One who looks at the beats. It has no clock: the time comes as an argument. */
export class StandstillWatch {
  readonly #beats: Int32Array;
  readonly #stillMsMax: number;
  #seen: number;
  #lookedAtMs: number | null = null;
  #stillMs = 0;
  /** Standing still for so long is said next. */
  #sayAtMs: number;

  constructor(beats: Int32Array, stillMsMax = STILL_MS_MAX) {
    assert(beats.length === 1, "The beats are one word");
    this.#beats = beats;
    this.#stillMsMax = stillMsMax;
    this.#sayAtMs = stillMsMax;
    this.#seen = Atomics.load(beats, 0);
  }

  /** What is to be said now, or null. It is said again after twice the time, and once more when the thread moves. */
  look(nowMs: number): Standstill | null {
    // A process that was stopped, or a host that was asleep, stood still as a whole: that time does not count.
    const passedMs = this.#lookedAtMs === null ? 0 : Math.min(nowMs - this.#lookedAtMs, 2 * LOOK_MS);
    this.#lookedAtMs = nowMs;
    const beat = Atomics.load(this.#beats, 0);
    if (beat !== this.#seen) return this.#handleMoved(beat);
    this.#stillMs += passedMs;
    if (this.#stillMs < this.#sayAtMs) return null;
    this.#sayAtMs *= 2;
    return { kind: "still", forMs: this.#stillMs };
  }

  #handleMoved(beat: number): Standstill | null {
    const said: Standstill | null = this.#sayAtMs > this.#stillMsMax ? { kind: "moves", forMs: this.#stillMs } : null;
    this.#seen = beat;
    this.#stillMs = 0;
    this.#sayAtMs = this.#stillMsMax;
    return said;
  }
}

/** The sentence of the log; `where` is what /proc says of the thread. */
export function standstillWords({ kind, forMs }: Standstill, where: string): string {
  const time = formatDuration(Math.round(forMs / 1_000) * 1_000);
  return kind === "moves"
    ? `The main thread moves again, after ${time}`
    : `The main thread has not moved for ${time}: ${where}. Until it does, no path is reconnected and no command answered`;
}

/** Where thread `tid` of this process stands, from innermost to outermost, as far as the kernel tells it to us. */
export function whereItStands(tid: number): string {
  const of = (file: string) => textOf(`/proc/self/task/${tid}/${file}`);
  const frames = of("stack").split("\n").map((line) => /\] (\w+)/.exec(line)?.[1]).filter((name) =>
    name !== undefined && !ENTRY.test(name)
  );
  const call = of("syscall").split(" ")[0] ?? "";
  if (call === "running" || (frames.length === 0 && call === "")) return "it runs code of its own";
  const place = frames.length > 0 ? frames.join(" < ") : of("wchan");
  return `it is in the kernel, system call ${call}${place === "" || place === "0" ? "" : `: ${place}`}`;
}

function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch {
    return "";
  }
}
