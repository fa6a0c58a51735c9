import { native } from "../../../ffi/library.ts";
import { messageOf, UmpathError, type UmpathErrorOptions } from "../../base/errors.ts";
import { hostHint } from "../../base/host_error.ts";
import { logger } from "../../base/log.ts";
import { midSentence } from "../../base/text.ts";
import type { Poller } from "../../io/poller.ts";
import { ConnectFailure, HOST_LIMITS } from "../../io/tcp.ts";
import { isAttributeRefused } from "../../nvme_host/admin_steps.ts";
import { AdminError, bringUp, type ConnectedController } from "../../nvme_host/bring_up.ts";
import { connectIoQueueCommand, identifyControllerCommand, keepAliveCommand } from "../../nvme_host/commands.ts";
import type { Digests, TransferParameters } from "../../nvme_host/connection.ts";
import { KeepAlive } from "../../nvme_host/keep_alive.ts";
import { NO_DIGESTS } from "../../nvme_host/transfer.ts";
import { reset, shutdown } from "../../nvme_host/retire.ts";
import { connectRefusal } from "../../nvme_host/status.ts";
import type { Steps } from "../../nvme_host/steps.ts";
import type { AnaStateName, PathSpec } from "../../rpc/host_api.ts";
import { controllerWords, queueWords } from "./agreed_words.ts";
import { ControllerWatch } from "./controller_watch.ts";
import { drive } from "./drive.ts";
import { ConnectionLost, HostConnection, NotNvmeTcp, TransportMismatch } from "./host_connection.ts";
import { PathFailure } from "./path_failure.ts";
import { pathWords } from "../../rpc/path_words.ts";

const log = logger("path");

/** How long a controller may take to say that it is reset or shut down, before it is left to itself. */
const RETIRE_TIMEOUT_MS = 1_000;

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
  /** What its controller shows, from bring-up on. */
  readonly watch: ControllerWatch;
  /** Settles with the reason when the admin queue is over for any cause other than `close()`. */
  readonly lost: Promise<string>;
  readonly #options: SessionOptions;
  readonly #poller: Poller;
  readonly #admin: HostConnection;
  /** What is left of the connect timeout for the I/O queues. */
  readonly #queuesTimeoutMs: number;
  #keepAliveTimer: ReturnType<typeof setTimeout> | undefined;

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
    const phase = { words: "" };
    try {
      admin = await HostConnection.open(poller, options.spec, options.connectTimeoutMs, { signal, digests });
      const connection = admin;
      using _calledOff = admin.failOn(signal);
      timer = setTimeout(
        () => connection.fail(`it did not come up within ${options.connectTimeoutMs / 1000} s: ${phase.words}`),
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
      const controller = await drive(admin, steps, phase);
      const queuesTimeoutMs = leftMs(options.connectTimeoutMs, startMs);
      const spentMs = performance.now() - startMs;
      log.debug(() =>
        `${pathWords(options.spec)}: ${controllerWords(controller, digests)}, after ${spentMs.toFixed(1)} ms`
      );
      return new ControllerSession(poller, admin, { controller, options, queuesTimeoutMs });
    } catch (error) {
      admin?.close();
      throw failureOf(options, error, { isFinal: isFinal(error), isConnected: admin !== null });
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
    this.lost = admin.lost;
    const { spec, nsid, nqn: subsystemNqn } = opened.options;
    const { controller } = opened;
    this.watch = new ControllerWatch({ words: pathWords(spec), nsid, subsystemNqn, admin, controller });
    this.#startKeepAlive();
  }

  /** As it came up, with the namespace as it was read last. */
  get controller(): ConnectedController {
    return this.watch.controller;
  }

  get ana(): AnaStateName {
    return this.watch.ana;
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
    this.#admin.receiveNow();
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
    this.#admin.receiveNow();
    const lost = this.#admin.endReason;
    if (lost === null && queues.length > 0 && failures.every((failure) => failure instanceof AdminError)) {
      for (const refusal of failures) log.info(`${pathWords(this.#options.spec)}: ${midSentence(refusal.message)}`);
      return queues;
    }
    closeQueues(queues);
    throw failureOf(this.#options, lost === null ? failures[0] : new ConnectionLost(lost), {
      isFinal: false,
      isConnected: true,
    });
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
      const connect = (flowControl: boolean) =>
        connectIoQueueCommand({ qid, queueDepth, cntlid, hostId, subsystemNqn: nqn, hostNqn, flowControl });
      let answer = await connection.request(connect(this.controller.flowControl), null);
      if (isAttributeRefused(answer)) answer = await connection.request(connect(true), null);
      if (answer.status !== 0) {
        const refusal = connectRefusal(answer.status, answer.result0);
        const words = `its I/O queue ${qid} is refused: ${refusal.words}`;
        throw new AdminError(refusal.kind, words, refusal.retryable, answer.status);
      }
      const queue = connection.handOver();
      log.debug(() => `${pathWords(spec)}: ${queueWords(qid, queueDepth, queue.transfer)}`);
      return queue;
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
    this.#admin.close();
    this.watch.end();
  }

  async #retire(steps: Steps<boolean>): Promise<boolean> {
    if (!this.#admin.isOpen) return false;
    const timer = setTimeout(() => this.#admin.close(), 2 * RETIRE_TIMEOUT_MS);
    try {
      return await drive(this.#admin, steps);
    } catch (error) {
      if (error instanceof ConnectionLost || error instanceof AdminError) return false;
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

/** True for an answer that another attempt gets too, unless somebody changes something. */
function isFinal(error: unknown): boolean {
  return error instanceof NotNvmeTcp || error instanceof TransportMismatch ||
    error instanceof AdminError && !error.retryable;
}

/** An error of a path in words and with its code: what failed, on which path, why, and what to do. */
export function failureOf(
  options: Pick<SessionOptions, "spec" | "hostNqn" | "digests">,
  error: unknown,
  { isFinal, isConnected = false }: { isFinal: boolean; isConnected?: boolean },
): UmpathError {
  if (!(error instanceof ConnectionLost || error instanceof AdminError)) return UmpathError.from(error);
  const words = { action: `Cannot connect to "${pathWords(options.spec)}"`, reason: midSentence(error.message) };
  if (error.cause !== undefined) log.debug(`${words.action}: ${words.reason}${causeWords(error)}`);
  const more = (hint?: string): UmpathErrorOptions & { isFinal: boolean } => ({ cause: error, hint, isFinal });
  if (error instanceof TransportMismatch) {
    const { header, data } = options.digests ?? NO_DIGESTS;
    const hint = "Switch the digests on at the target, or leave them out here";
    return new PathFailure("refused", words, more(header || data ? hint : undefined));
  }
  if (error.cause instanceof ConnectFailure && HOST_LIMITS.includes(error.cause.errno)) {
    return new PathFailure("host-lacks", words, more(hostHint(error.cause.errno)));
  }
  if (error.cause instanceof UmpathError) return new PathFailure(error.cause.code, words, more(error.cause.hint));
  if (error instanceof ConnectionLost) {
    return new PathFailure("unreachable", words, more(lossHint(error, { isConnected })));
  }
  switch (error.kind) {
    case "refused":
      return new PathFailure("refused", words, more(refusalHint(error, options.hostNqn)));
    case "unsupported":
      return new PathFailure("refused", words, more());
    case "not-found":
      return new PathFailure("not-found", words, more("Name another namespace with --nsid"));
    default:
      return new PathFailure("unreachable", words, more(refusalHint(error, options.hostNqn)));
  }
}

/** What can be done about a connection that failed. Where a controller has answered, address and port are right. */
function lossHint(error: ConnectionLost, { isConnected }: { isConnected: boolean }): string | undefined {
  if (error instanceof NotNvmeTcp && error.speaksTls) return "Let the target accept connections without TLS";
  return isConnected ? undefined : "Check the address, the port and the target";
}

/** The cause of an error, such as the number of a status, where it tells more than the error itself. */
function causeWords(error: Error): string {
  const words = messageOf(error.cause);
  return words === error.message ? "" : ` (${words})`;
}

/** What can be done about a refusal, where its cause is known. */
function refusalHint({ about }: AdminError, hostNqn: string): string | undefined {
  switch (about) {
    case "names":
      return `Check the NQN, and that the target allows this host, which is ${hostNqn}`;
    case "keep-alive":
      return "Name another --keep-alive, or --keep-alive off";
    case "controllers":
      return "Detach volumes that are not needed, or raise the target's limit of controllers";
    case "authentication":
      return `Let the target take this host, ${hostNqn}, without authentication`;
    default:
      return undefined;
  }
}

/** What is left of a time limit that began at `startMs`; at least a moment. */
function leftMs(limitMs: number, startMs: number): number {
  return Math.max(Math.round(limitMs - (performance.now() - startMs)), 1);
}
