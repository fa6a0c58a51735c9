/**
 * A request that takes a while and can be called off: an attach, or a change of paths. The errand is called off when its
 * client is gone, when the volume is to be detached, or when the daemon is to end. What it has begun is then undone.
 *
 * Invariant: once it is called off, `check()` throws why, for ever.
 */
import { UmpathError } from "../../base/errors.ts";

/** What an errand is about. */
export interface ErrandSubject {
  nqn: string;
  nsid: number;
  /** The volume's name, or the one that it is to have. */
  name: string;
  /** "attach": a volume may come of it; "change": only the paths of one that is there. */
  kind: "attach" | "change";
}

/** One request under way. */
export class Errand {
  readonly subject: ErrandSubject;
  readonly since = new Date();
  readonly #over = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #why: UmpathError | null = null;

  constructor(subject: ErrandSubject) {
    this.subject = subject;
  }

  /** Aborted once the errand is called off. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get isOver(): boolean {
    return this.#why !== null;
  }

  /** Resolves when nothing of the errand runs any more. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Called off for the first reason that is given. */
  callOff(why: UmpathError): void {
    if (this.#why !== null) return;
    this.#why = why;
    this.#over.abort();
  }

  /** Called off as soon as its client is gone. */
  heedClient(client: AbortSignal): void {
    const leave = () => this.callOff(new UmpathError("interrupted", "Called off: its client left"));
    if (client.aborted) return leave();
    client.addEventListener("abort", leave, { once: true });
    void this.ended.then(() => client.removeEventListener("abort", leave));
  }

  /** @throws UmpathError why it was called off, if it was. */
  check(): void {
    if (this.#why !== null) throw this.#why;
  }

  /** What `work` gives, unless the errand is called off before: then why, at once. */
  async unlessOver<T>(work: Promise<T>): Promise<T> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    this.signal.addEventListener("abort", onAbort);
    if (this.isOver) resolve();
    // Why it is over says more than how the work fails then.
    await Promise.race([over, work.then(() => {}, () => {})]);
    this.signal.removeEventListener("abort", onAbort);
    if (this.isOver) work.catch(() => {});
    this.check();
    return await work;
  }

  /** Nothing of the errand runs any more. */
  end(): void {
    this.#ended.resolve();
  }
}
