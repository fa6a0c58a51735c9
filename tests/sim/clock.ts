import { assert } from "../../src/base/assert.ts";

/** Something that happens at a time of the simulated clock. It is pending at most once. */
export class Task {
  readonly #clock: Clock;
  readonly run: () => void;
  /** The heap's entry that counts; older ones are passed over. 0: not pending. */
  entry = 0;
  dueMs = Infinity;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.run = run;
  }

  get isPending(): boolean {
    return this.entry !== 0;
  }

  /** Runs at `ms`, and at no other time that was set before. */
  at(ms: number): void {
    if (this.entry !== 0 && this.dueMs === ms) return;
    this.#clock.push(this, ms);
  }

  /** Runs in `ms` milliseconds. */
  in(ms: number): void {
    this.at(this.#clock.nowMs + ms);
  }

  /** Runs at `ms`, or earlier if it is pending for earlier. */
  by(ms: number): void {
    if (this.entry === 0 || this.dueMs > ms) this.at(ms);
  }

  /** Runs now, after what is due now already. */
  soon(): void {
    this.by(this.#clock.nowMs);
  }

  cancel(): void {
    this.entry = 0;
    this.dueMs = Infinity;
  }
}

/**
 * The simulated time, in milliseconds, and what is due when: a binary heap. What is due at the same time happens in the
 * order in which it was asked for, so that a seed decides everything.
 */
export class Clock {
  nowMs = 0;
  /** Tasks that were run. */
  events = 0;

  #times = new Float64Array(1024);
  #entries = new Float64Array(1024);
  readonly #tasks: Task[] = [];
  #length = 0;
  #lastEntry = 0;

  task(run: () => void): Task {
    return new Task(this, run);
  }

  /** Runs `run` once, in `ms` milliseconds. */
  after(ms: number, run: () => void): void {
    new Task(this, run).in(ms);
  }

  push(task: Task, ms: number): void {
    assert(ms >= this.nowMs, "Nothing is due in the past");
    if (this.#length === this.#times.length) this.#grow();
    task.entry = ++this.#lastEntry;
    task.dueMs = ms;
    this.#rise(this.#length++, ms, task.entry, task);
  }

  #grow(): void {
    const times = new Float64Array(2 * this.#times.length);
    const entries = new Float64Array(times.length);
    times.set(this.#times);
    entries.set(this.#entries);
    this.#times = times;
    this.#entries = entries;
  }

  #rise(at: number, time: number, entry: number, task: Task): void {
    const times = this.#times, entries = this.#entries, tasks = this.#tasks;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (times[up] < time || (times[up] === time && entries[up] < entry)) break;
      times[at] = times[up];
      entries[at] = entries[up];
      tasks[at] = tasks[up];
      at = up;
    }
    times[at] = time;
    entries[at] = entry;
    tasks[at] = task;
  }

  #removeFirst(): void {
    const times = this.#times, entries = this.#entries, tasks = this.#tasks;
    const length = --this.#length;
    const time = times[length], entry = entries[length], task = tasks[length];
    let at = 0;
    for (let down = 1; down < length; down = 2 * at + 1) {
      const right = down + 1;
      if (
        right < length &&
        (times[right] < times[down] || (times[right] === times[down] && entries[right] < entries[down]))
      ) down = right;
      if (time < times[down] || (time === times[down] && entry < entries[down])) break;
      times[at] = times[down];
      entries[at] = entries[down];
      tasks[at] = tasks[down];
      at = down;
    }
    times[at] = time;
    entries[at] = entry;
    tasks[at] = task;
  }

  /** Runs what is due until `isOver()` or nothing is left or it is later than `untilMs`; true if it is over. */
  run(isOver: () => boolean, untilMs: number): boolean {
    while (!isOver()) {
      if (this.#length === 0 || this.#times[0] > untilMs) return false;
      const task = this.#tasks[0], entry = this.#entries[0], time = this.#times[0];
      this.#removeFirst();
      if (task.entry !== entry) continue;
      task.entry = 0;
      this.nowMs = time;
      this.events++;
      task.run();
    }
    return true;
  }
}
