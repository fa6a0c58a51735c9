import { logger } from "../../base/log.ts";
import { midSentence } from "../../base/text.ts";
import { heldBackWords, RateLimit } from "../../base/rate_limit.ts";
import { anaServesIo, anaStateOf } from "../../nvme_host/ana.ts";
import type { AnaLog } from "../../nvme_host/ana.ts";
import { type AnaLogPlan, anaLogPlan, readAnaLog } from "../../nvme_host/ana_log.ts";
import { parseAsyncEvent, rearmCommand } from "../../nvme_host/async_event.ts";
import { AdminError, type ConnectedController } from "../../nvme_host/bring_up.ts";
import { asyncEventRequestCommand } from "../../nvme_host/commands.ts";
import { type Look, Lookout } from "../../nvme_host/lookout.ts";
import { readNamespace } from "../../nvme_host/namespace_steps.ts";
import { isLastingRefusal, statusWords } from "../../nvme_host/status.ts";
import { commandFailure } from "../../nvme_host/steps.ts";
import { LogId } from "../../protocol/nvme.ts";
import type { AnaStateName } from "../../rpc/host_api.ts";
import { drive } from "./drive.ts";
import { ConnectionLost, type HostConnection } from "./host_connection.ts";

const log = logger("path");

/** Lines about one controller: a few at once, then one each minute. */
const LINES = { burst: 5, perMs: 60_000 } as const;

const LOOK_WORDS: Readonly<Record<Look, string>> = Object.freeze({ ana: "the ANA log", namespace: "the namespace" });

/** What is done about what a controller shows. */
export interface WatchListener {
  handleAna(state: AnaStateName): void;
  /** The namespace was read again: it is as `controller` says. */
  handleNamespace(): void;
  /** The controller cannot serve the namespace any more. */
  handleFailure(reason: string): void;
}

export interface ControllerWatchOptions {
  /** The path as people name it. */
  words: string;
  nsid: number;
  subsystemNqn: string;
  admin: HostConnection;
  controller: ConnectedController;
}

/**
 * Keeps what is known of one live controller up to date: its ANA log and its namespace, by its events and by looking. What
 * could not be read or makes no sense changes nothing and is read again; what it shows plainly counts.
 */
export class ControllerWatch {
  /** As it came up, with the namespace as it was read last. */
  controller: ConnectedController;
  listener: WatchListener;

  readonly #options: ControllerWatchOptions;
  readonly #admin: HostConnection;
  readonly #lookout: Lookout;
  readonly #plan: AnaLogPlan | null;
  readonly #lines = new RateLimit(LINES);
  /** Who waits for a look that has not begun. */
  readonly #waiting: Record<Look, ((failure: string | null) => void)[]> = { ana: [], namespace: [] };
  #anaLog: AnaLog | null;
  #ana: AnaStateName;
  /** The changed namespace list is to be read before the controller tells the next change. */
  #isListDue = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ControllerWatchOptions) {
    const { admin, controller } = options;
    this.#options = options;
    this.#admin = admin;
    this.controller = controller;
    this.listener = {
      handleAna: () => {},
      handleNamespace: () => {},
      handleFailure: (reason) => admin.fail(reason),
    };
    this.#plan = anaLogPlan(controller.controller, controller.limits.maxTransferBytes);
    this.#anaLog = controller.anaLog;
    this.#lookout = new Lookout({
      hasEvents: controller.asyncEvents !== 0,
      reportsAna: this.#plan !== null,
      anaTransitionSeconds: controller.controller.anaTransitionSeconds,
      nowMs: performance.now(),
    });
    this.#ana = this.#state;
    this.#lookout.setServing(anaServesIo(this.#ana));
    this.#turn();
  }

  get ana(): AnaStateName {
    return this.#ana;
  }

  get #state(): AnaStateName {
    return this.#anaLog === null ? "optimized" : anaStateOf(this.#anaLog, this.controller.namespace);
  }

  /** Ends; whoever waits for a look is told. */
  end(): void {
    clearTimeout(this.#timer);
    for (const waiting of Object.values(this.#waiting)) {
      waiting.splice(0).forEach((tell) => tell(this.#admin.endReason ?? "the connection was closed"));
    }
  }

  /** Reads the ANA log and the namespace anew; why that failed, or null. */
  async lookAnew(): Promise<string | null> {
    const looks = await Promise.all([this.#plan === null ? null : this.#look("ana"), this.#look("namespace")]);
    return looks.find((failure) => failure !== null) ?? null;
  }

  /** Reads the ANA log anew, and the namespace's group where the log does not say it; resolves when the log was read. */
  async readAna(): Promise<void> {
    if (this.#plan === null) return;
    if (this.#plan.groupsOnly) this.#lookout.want("namespace", performance.now());
    await this.#look("ana");
  }

  /** Reads the namespace anew: something says that it has changed. */
  readNamespace(): void {
    void this.#look("namespace");
  }

  #look(look: Look): Promise<string | null> {
    const { promise, resolve } = Promise.withResolvers<string | null>();
    this.#waiting[look].push(resolve);
    this.#lookout.want(look, performance.now());
    this.#turn();
    return promise;
  }

  // ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #turn(): void {
    clearTimeout(this.#timer);
    if (!this.#admin.isOpen) return this.end();
    const poll = () => this.#lookout.poll(performance.now());
    for (let order = poll(); order !== "idle"; order = poll()) {
      if (order === "ask") void this.#ask();
      else void this.#carryOut(order);
    }
    const waitMs = this.#lookout.nextDeadlineMs - performance.now();
    if (waitMs < Infinity) this.#timer = setTimeout(() => this.#turn(), Math.max(Math.ceil(waitMs), 1));
  }

  async #ask(): Promise<void> {
    try {
      const { status, result0 } = await this.#admin.request(asyncEventRequestCommand(), null);
      if (status === 0) await this.#handleEvent(result0);
      else this.#handleRefusal(status);
      this.#turn();
    } catch (error) {
      this.#handleEnd(error);
    }
  }

  #handleRefusal(status: number): void {
    this.#lookout.handleRefusal(performance.now());
    this.#warn(`its request for events failed: ${statusWords(status)}; it is asked again, and looked at meanwhile`);
  }

  async #handleEvent(result0: number): Promise<void> {
    const event = parseAsyncEvent(result0);
    this.#say((words) => log.info(words), `event: ${event.words}`);
    if (event.kind === "persistent-error") {
      return this.listener.handleFailure(`its controller reports a ${event.words}`);
    }
    const nowMs = performance.now();
    this.#lookout.handleEvent(nowMs);
    if (event.kind === "namespace-change") {
      this.#isListDue = true;
      return this.#lookout.want("namespace", nowMs);
    }
    if (event.kind === "ana-change") return void this.readAna();
    // Events of its type are not told again before its log page is read.
    const rearm = rearmCommand(event.logPage);
    if (rearm !== null) await this.#admin.request(rearm);
  }

  async #carryOut(look: Look): Promise<void> {
    const waiting = this.#waiting[look].splice(0);
    let failure: string | null = null;
    try {
      await (look === "ana" ? this.#readAnaLog(this.#plan!) : this.#readNamespace());
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      if (error instanceof AdminError) this.#handleFailedLook(look, error);
      else this.#handleEnd(error);
    }
    this.#lookout.handleLooked(look, failure === null, performance.now());
    waiting.forEach((tell) => tell(failure));
    this.#turn();
  }

  async #readAnaLog(plan: AnaLogPlan): Promise<void> {
    this.#anaLog = await drive(this.#admin, readAnaLog(plan));
    const state = this.#state;
    if (state === this.#ana) return;
    this.#ana = state;
    this.#lookout.setServing(anaServesIo(state));
    this.listener.handleAna(state);
  }

  async #readNamespace(): Promise<void> {
    if (this.#isListDue) await this.#readChangedList();
    const { nsid, subsystemNqn } = this.#options;
    const known = await drive(this.#admin, readNamespace(this.controller, { nsid, subsystemNqn }));
    const hasMoved = known.namespace.anaGroupId !== this.controller.namespace.anaGroupId;
    this.controller = { ...this.controller, ...known };
    // The log that is known may be older than the move.
    if (hasMoved && this.#plan !== null) void this.#look("ana");
    this.listener.handleNamespace();
  }

  async #readChangedList(): Promise<void> {
    const command = rearmCommand(LogId.CHANGED_NAMESPACE_LIST)!;
    const { status } = await this.#admin.request(command);
    if (status !== 0 && !isLastingRefusal(status)) throw commandFailure(command, status);
    this.#isListDue = false;
  }

  /** That there is no such namespace, or one that cannot be served, is an answer; anything else proves nothing. */
  #handleFailedLook(look: Look, error: AdminError): void {
    const reason = midSentence(error.message);
    if (look === "namespace" && (error.kind === "not-found" || error.kind === "unsupported")) {
      return this.listener.handleFailure(`its namespace cannot be used any more: ${reason}`);
    }
    this.#warn(`cannot read ${LOOK_WORDS[look]} again: ${reason}; what is known of it stays, and it is tried again`);
  }

  #handleEnd(error: unknown): void {
    if (error instanceof ConnectionLost) return;
    this.#admin.fail(error instanceof Error ? error.message : String(error));
  }

  #warn(what: string): void {
    this.#say((words) => log.warn(words), what);
  }

  #say(tell: (words: string) => void, what: string): void {
    const heldBack = this.#lines.admit(performance.now());
    if (heldBack !== null) tell(`${this.#options.words}: ${what}${heldBackWords(heldBack)}`);
  }
}
