import type { AnaStateName } from "../../rpc/host_api.ts";
import type { ControllerSession } from "./controller_session.ts";

/** How many times its own limit (ANATT) a transition may take: room for the event, and for the log to be read. */
const TRANSITION_FACTOR = 2;

/**
 * Watches how long a namespace is in ANA change over one path. A controller says how long a transition takes at most
 * (ANATT; Base 2.0, section 8.1.3); one that takes much longer is stuck, and a reset is what gets it out of there.
 */
export class AnaTransition {
  readonly #onStuck: (reason: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onStuck` is told the reason. */
  constructor(onStuck: (reason: string) => void) {
    this.#onStuck = onStuck;
  }

  /** The state is this now, as `session` tells. A controller that names no limit has none. */
  handleState(state: AnaStateName, session: ControllerSession): void {
    const limitSeconds = TRANSITION_FACTOR * session.controller.controller.anaTransitionSeconds;
    if (state !== "change" || limitSeconds === 0) return this.stop();
    this.#timer ??= setTimeout(() => void this.#handleOver(session, limitSeconds), limitSeconds * 1000);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The event of its end may have been lost: the log has the last word. */
  async #handleOver(session: ControllerSession, limitSeconds: number): Promise<void> {
    const timer = this.#timer;
    await session.watch.readAna();
    if (this.#timer !== timer || session.ana !== "change") return;
    this.stop();
    this.#onStuck(`its namespace was in ANA change for ${limitSeconds} s, twice what the controller takes at most`);
  }
}
