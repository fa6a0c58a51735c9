/** What ends a run from outside: signals and the time limit. */
import { EXIT_TIMEOUT, VmError } from "./vm_error.ts";

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/** How long a machine whose time is up may take to print its kernel log. */
const REPORT_WAIT_MS = 5000;

/** Passes the first signal on to the job; a second one, or one that finds no job, ends the run. */
export class Signals {
  readonly stopped: Promise<never>;
  #stop!: (error: VmError) => void;
  #forward: ((name: string) => Promise<void>) | undefined;
  #seen = false;
  readonly #handlers = new Map<keyof typeof SIGNAL_NUMBERS, () => void>();

  constructor() {
    this.stopped = new Promise((_, reject) => this.#stop = reject);
    this.stopped.catch(() => {});
    for (const name of Object.keys(SIGNAL_NUMBERS) as (keyof typeof SIGNAL_NUMBERS)[]) {
      const handler = () => this.#handle(name);
      this.#handlers.set(name, handler);
      Deno.addSignalListener(name, handler);
    }
  }

  /** From now on there is a job to pass signals to. */
  forwardTo(forward: (name: string) => Promise<void>): void {
    this.#forward = forward;
  }

  /** Gives the signals back. */
  close(): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }

  #handle(name: keyof typeof SIGNAL_NUMBERS): void {
    if (this.#seen || !this.#forward) {
      this.#stop(new VmError(`Ended by ${name}`, 128 + SIGNAL_NUMBERS[name]));
      return;
    }
    this.#seen = true;
    this.#forward(name.slice(3)).catch(() => {});
  }
}

/** Ends the run when its time is up, after giving the machine a moment to say what it was doing. */
export class TimeLimit {
  readonly reached: Promise<never>;
  #timers: ReturnType<typeof setTimeout>[] = [];
  #ask: (() => Promise<void>) | undefined;
  #stop!: () => void;

  constructor(seconds: number) {
    this.reached = new Promise((_, reject) => {
      this.#stop = () => reject(new VmError(`Time limit of ${seconds} s reached`, EXIT_TIMEOUT));
    });
    this.reached.catch(() => {});
    if (seconds > 0) this.#timers.push(setTimeout(() => this.#strike(), seconds * 1000));
  }

  /** From now on the machine can be asked for its kernel log and its blocked tasks. */
  askReport(ask: () => Promise<void>): void {
    this.#ask = ask;
  }

  /** The report is on the console. */
  reported(): void {
    this.#timers.push(setTimeout(this.#stop, 200));
  }

  /** Forgets the limit. */
  close(): void {
    this.#timers.forEach(clearTimeout);
  }

  #strike(): void {
    if (!this.#ask) return this.#stop();
    this.#timers.push(setTimeout(this.#stop, REPORT_WAIT_MS));
    this.#ask().catch(() => {});
  }
}
