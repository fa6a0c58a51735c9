import { native } from "../../ffi/library.ts";
import { messageOf, UmpathError, type UmpathErrorOptions } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { midSentence } from "../base/text.ts";
import type { Poller } from "../io/poller.ts";
import { type AnaLog, anaStateOf } from "../nvme/ana.ts";
import { anaLogPlan, readAnaLog } from "../nvme/ana_log.ts";
import { parseAsyncEvent } from "../nvme/async_event.ts";
import { bringUp, BringUpError, type ConnectedController } from "../nvme/bring_up.ts";
import {
  asyncEventRequestCommand,
  changedNamespaceListCommand,
  connectIoQueueCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../nvme/commands.ts";
import type { Digests, TransferParameters } from "../nvme/connection.ts";
import { KeepAlive } from "../nvme/keep_alive.ts";
import { type KnownNamespace, readNamespace } from "../nvme/namespace_steps.ts";
import { NO_DIGESTS } from "../nvme/transfer.ts";
import { reset, shutdown } from "../nvme/retire.ts";
import { connectRefusal } from "../nvme/status.ts";
import type { Steps } from "../nvme/steps.ts";
import type { AnaStateName, PathSpec } from "./api.ts";
import { ConnectionLost, HostConnection, NotNvmeTcp, TransportMismatch } from "./host_connection.ts";
import { PathFailure } from "./path_failure.ts";
import { pathWords } from "./path_words.ts";

const log = logger("path");

/** How long a controller may take to say that it is reset or shut down, before it is left to itself. */
const RETIRE_TIMEOUT_MS = 1_000;

/**
 * Before the next event is asked for after one: short after a quiet time, longer and longer while one follows the other,
 * so that a controller which tells events without end fills neither the log nor a CPU.
 */
const EVENT_PAUSE_MS = 10;
const EVENT_PAUSE_MS_MAX = 1_000;

export interface SessionOptions {
  spec: PathSpec;
  nqn: string;
  nsid: number;
  hostNqn: string;
  hostId: Uint8Array;
  keepAliveMs: number | null;
  connectTimeoutMs: number;
  queues: number;
  depth: number;
  /** None unless told. */
  digests?: Digests;
}

/** An I/O queue pair that is connected and waits for a worker. */
export interface OpenQueue {
  fd: number;
  transfer: TransferParameters;
}

/**
 * One association with one controller: its admin queue, kept alive, with its events; and the way to open I/O queues.
 * It lives until its admin queue fails or `close()`; then a new one is made.
 */
export class ControllerSession {
  readonly controller: ConnectedController;
  /** Settles with the reason when the admin queue is over for any cause other than `close()`. */
  readonly lost: Promise<string>;
  /** Called when the ANA state of the namespace has changed. */
  onAnaChange: (state: AnaStateName) => void = () => {};
  /** Called when attributes of namespaces have changed. */
  onNamespaceChange: () => void = () => {};
  /** They have changed since bring-up: whoever begins to listen only now has missed it. */
  hasNamespaceChanged = false;

  readonly #options: SessionOptions;
  readonly #poller: Poller;
  readonly #admin: HostConnection;
  #ana: AnaStateName;
  /** What is left of the connect timeout for the I/O queues. */
  readonly #queuesTimeoutMs: number;
  #keepAliveTimer: ReturnType<typeof setTimeout> | undefined;
  #eventTimer: ReturnType<typeof setTimeout> | undefined;
  #anaRead: Promise<void> | null = null;
  #isAnaReadStale = false;

  /**
   * Connects, brings the controller up and learns the namespace, all within `connectTimeoutMs`, unless `signal` is
   * aborted first.
   *
   * @throws PathFailure "unreachable", "refused" or "not-found".
   */
  static async open(poller: Poller, options: SessionOptions, signal?: AbortSignal): Promise<ControllerSession> {
    const startMs = performance.now();
    const { digests = NO_DIGESTS } = options;
    let admin: HostConnection | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      admin = await HostConnection.open(poller, options.spec, options.connectTimeoutMs, { signal, digests });
      const connection = admin;
      using _calledOff = admin.failOn(signal);
      timer = setTimeout(
        () => connection.fail(`it did not come up within ${options.connectTimeoutMs / 1000} s`),
        leftMs(options.connectTimeoutMs, startMs),
      );
      const steps = bringUp({
        subsystemNqn: options.nqn,
        hostNqn: options.hostNqn,
        hostId: options.hostId,
        nsid: options.nsid,
        keepAliveMs: options.keepAliveMs,
        wantedQueues: options.queues,
        wantedQueueDepth: options.depth,
      });
      const controller = await drive(admin, steps);
      const queuesTimeoutMs = leftMs(options.connectTimeoutMs, startMs);
      return new ControllerSession(poller, admin, { controller, options, queuesTimeoutMs });
    } catch (error) {
      admin?.close();
      throw failureOf(options, error, { isFinal: isFinal(error) });
    } finally {
      clearTimeout(timer);
    }
  }

  private constructor(
    poller: Poller,
    admin: HostConnection,
    opened: { controller: ConnectedController; options: SessionOptions; queuesTimeoutMs: number },
  ) {
    this.#poller = poller;
    this.#admin = admin;
    this.#options = opened.options;
    this.#queuesTimeoutMs = opened.queuesTimeoutMs;
    this.controller = opened.controller;
    this.lost = admin.lost;
    this.#ana = this.#stateIn(this.controller.anaLog);
    this.#startKeepAlive();
    if (this.controller.asyncEvents !== 0) void this.#listen();
  }

  get ana(): AnaStateName {
    return this.#ana;
  }

  #stateIn(anaLog: AnaLog | null): AnaStateName {
    return anaLog === null ? "optimized" : anaStateOf(anaLog, this.controller.namespace);
  }

  // ── keep alive ────────────────────────────────────────────────────────────────────────────────────────────────────

  #startKeepAlive(): void {
    const keepAliveMs = this.controller.keepAliveMs;
    if (keepAliveMs === null || keepAliveMs === 0) return;
    const keepAlive = new KeepAlive({ keepAliveMs, nowMs: performance.now() });
    this.#tickKeepAlive(keepAlive);
  }

  /** The answers that have arrived are told before the time is. */
  #tickKeepAlive(keepAlive: KeepAlive): void {
    this.#admin.takeArrived();
    queueMicrotask(() => this.#checkKeepAlive(keepAlive));
  }

  #checkKeepAlive(keepAlive: KeepAlive): void {
    if (!this.#admin.isOpen) return;
    const nowMs = performance.now();
    const order = keepAlive.poll(nowMs);
    if (order === "dead") return this.#admin.fail("it does not answer keep-alives");
    if (order === "send") {
      this.#admin.request(keepAliveCommand(), null).then(() => keepAlive.handleAnswer(performance.now()), () => {});
    }
    const waitMs = Math.max(keepAlive.nextDeadlineMs - performance.now(), 10);
    this.#keepAliveTimer = setTimeout(() => this.#tickKeepAlive(keepAlive), waitMs);
  }

  // ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #listen(): Promise<void> {
    let pauseMs = EVENT_PAUSE_MS;
    try {
      while (this.#admin.isOpen) {
        const askedAtMs = performance.now();
        const answer = await this.#admin.request(asyncEventRequestCommand(), null);
        if (answer.status !== 0) return;
        const event = parseAsyncEvent(answer.result0);
        log.info(`${pathWords(this.#options.spec)}: event: ${event.words}`);
        if (event.kind === "ana-change") await this.readAna();
        if (event.kind === "namespace-change") await this.#handleNamespaceChange();
        const isQuiet = performance.now() - askedAtMs > EVENT_PAUSE_MS_MAX;
        pauseMs = isQuiet ? EVENT_PAUSE_MS : Math.min(2 * pauseMs, EVENT_PAUSE_MS_MAX);
        await new Promise<void>((resolve) => this.#eventTimer = setTimeout(resolve, pauseMs));
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost)) this.#admin.fail(words(error));
    }
  }

  async #handleNamespaceChange(): Promise<void> {
    await this.#admin.request(changedNamespaceListCommand());
    this.hasNamespaceChanged = true;
    this.onNamespaceChange();
  }

  /** True if the controller answers a question that is asked now, whatever the answer. */
  async answers(): Promise<boolean> {
    try {
      await this.#admin.request(identifyControllerCommand());
      return true;
    } catch (error) {
      if (error instanceof ConnectionLost) return false;
      throw error;
    }
  }

  /**
   * Asks again what the namespace is.
   *
   * @throws ConnectionLost, or BringUpError if there is none any more or the answers are of no use.
   */
  async readNamespace(): Promise<KnownNamespace> {
    const { nsid, nqn: subsystemNqn } = this.#options;
    return await drive(this.#admin, readNamespace(this.controller, { nsid, subsystemNqn }));
  }

  /**
   * Reads the ANA log and tells a changed state; one read at a time. Whoever asks during a read gets another one after
   * it, for the state may have changed since. A log that cannot be right ends the session.
   */
  readAna(): Promise<void> {
    this.#isAnaReadStale = this.#anaRead !== null;
    this.#anaRead ??= this.#readAnaUntilFresh();
    return this.#anaRead;
  }

  async #readAnaUntilFresh(): Promise<void> {
    do {
      this.#isAnaReadStale = false;
      await this.#readAna();
    } while (this.#isAnaReadStale && this.#admin.isOpen);
    this.#anaRead = null;
  }

  async #readAna(): Promise<void> {
    const plan = anaLogPlan(this.controller.controller, this.controller.limits.maxTransferBytes);
    if (plan === null) return;
    try {
      const state = this.#stateIn(await drive(this.#admin, readAnaLog(plan)));
      if (state === this.#ana) return;
      this.#ana = state;
      this.onAnaChange(state);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) this.#admin.fail(words(error));
    }
  }

  // ── I/O queues ────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Opens `count` I/O queue pairs, each over a connection of its own, within what `open` has left of `connectTimeoutMs`,
   * unless `signal` is aborted first. A controller may refuse some of them: those that it takes serve.
   *
   * @throws PathFailure as `open` does, never a final one: a controller that came up was no mistake. What was opened
   * before is closed.
   */
  async openQueues(count: number, signal?: AbortSignal): Promise<OpenQueue[]> {
    const results = await Promise.allSettled(Array.from({ length: count }, (_, i) => this.#openQueue(i + 1, signal)));
    const failures = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
    const queues = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
    if (failures.length === 0) return queues;
    // A controller that is gone knows nothing of its queues: that it is gone is the reason, not that it refuses them.
    this.#admin.takeArrived();
    const lost = this.#admin.endReason;
    if (lost === null && queues.length > 0 && failures.every((failure) => failure instanceof BringUpError)) {
      for (const refusal of failures) log.info(`${pathWords(this.#options.spec)}: ${midSentence(refusal.message)}`);
      return queues;
    }
    closeQueues(queues);
    throw failureOf(this.#options, lost === null ? failures[0] : new ConnectionLost(lost), { isFinal: false });
  }

  async #openQueue(qid: number, signal: AbortSignal | undefined): Promise<OpenQueue> {
    const startMs = performance.now();
    const { spec, connectTimeoutMs, digests = NO_DIGESTS, hostId, hostNqn, nqn } = this.#options;
    const { queueDepth, cntlid } = this.controller;
    const connection = await HostConnection.open(this.#poller, spec, this.#queuesTimeoutMs, { signal, digests });
    using _calledOff = connection.failOn(signal);
    const timer = setTimeout(
      () => connection.fail(`its I/O queue ${qid} did not come up within ${connectTimeoutMs / 1000} s`),
      leftMs(this.#queuesTimeoutMs, startMs),
    );
    try {
      const connect = connectIoQueueCommand({ qid, queueDepth, cntlid, hostId, subsystemNqn: nqn, hostNqn });
      const answer = await connection.request(connect, null);
      if (answer.status !== 0) {
        const refusal = connectRefusal(answer.status, answer.result0);
        const words = `its I/O queue ${qid} is refused: ${refusal.words}`;
        throw new BringUpError(refusal.kind, words, refusal.retryable, answer.status);
      }
      return await connection.handOver();
    } catch (error) {
      connection.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  // ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Resets the controller over the admin queue that still lives; true if it executes nothing any more. */
  async reset(): Promise<boolean> {
    return await this.#retire(reset(RETIRE_TIMEOUT_MS));
  }

  /** Ends the association in order: a shutdown notice, as far as the controller still listens, and the connection. */
  async close(): Promise<void> {
    await this.#retire(shutdown(RETIRE_TIMEOUT_MS));
    this.abandon();
  }

  /** Ends the association at once. */
  abandon(): void {
    clearTimeout(this.#keepAliveTimer);
    clearTimeout(this.#eventTimer);
    this.#admin.close();
  }

  async #retire(steps: Steps<boolean>): Promise<boolean> {
    if (!this.#admin.isOpen) return false;
    const timer = setTimeout(() => this.#admin.close(), 2 * RETIRE_TIMEOUT_MS);
    try {
      return await drive(this.#admin, steps);
    } catch (error) {
      if (error instanceof ConnectionLost || error instanceof BringUpError) return false;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Closes I/O queues that no worker has. */
export function closeQueues(queues: OpenQueue[]): void {
  for (const queue of queues) native().um_socket_close(queue.fd, 1);
}

/** Carries out what a sequence of steps wants, over an admin queue. */
export async function drive<T>(admin: HostConnection, steps: Steps<T>): Promise<T> {
  let next = steps.next(null);
  while (!next.done) {
    const step = next.value;
    if (step.kind === "wait") {
      await new Promise((resolve) => setTimeout(resolve, step.ms));
      next = steps.next(null);
    } else {
      next = steps.next(await admin.request(step.command));
    }
  }
  return next.value;
}

/** True for an answer that another attempt gets too, unless somebody changes something. */
function isFinal(error: unknown): boolean {
  return error instanceof NotNvmeTcp || error instanceof TransportMismatch ||
    error instanceof BringUpError && !error.retryable;
}

/** An error of a path in words and with its code: what failed, on which path, why, and what to do. */
export function failureOf(
  options: Pick<SessionOptions, "spec" | "hostNqn" | "digests">,
  error: unknown,
  { isFinal }: { isFinal: boolean },
): UmpathError {
  if (!(error instanceof ConnectionLost || error instanceof BringUpError)) return UmpathError.from(error);
  const words = { action: `Cannot connect to "${pathWords(options.spec)}"`, reason: midSentence(error.message) };
  if (error.cause !== undefined) log.debug(`${words.action}: ${words.reason} (${messageOf(error.cause)})`);
  const more = (hint?: string): UmpathErrorOptions & { isFinal: boolean } => ({ cause: error, hint, isFinal });
  if (error instanceof TransportMismatch) {
    const { header, data } = options.digests ?? NO_DIGESTS;
    const hint = "Switch the digests on at the target, or leave them out here";
    return new PathFailure("refused", words, more(header || data ? hint : undefined));
  }
  if (error instanceof ConnectionLost) {
    return new PathFailure("unreachable", words, more("Check the address, the port and the target"));
  }
  switch (error.kind) {
    case "refused": {
      const hint = `Check the NQN, and that the target allows this host, which is ${options.hostNqn}`;
      return new PathFailure("refused", words, more(hint));
    }
    case "unsupported":
      return new PathFailure("refused", words, more());
    case "not-found":
      return new PathFailure("not-found", words, more("Name another namespace with --nsid"));
    default:
      return new PathFailure("unreachable", words, more());
  }
}

/** What is left of a time limit that began at `startMs`; at least a moment. */
function leftMs(limitMs: number, startMs: number): number {
  return Math.max(Math.round(limitMs - (performance.now() - startMs)), 1);
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
