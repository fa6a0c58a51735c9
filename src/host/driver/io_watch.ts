import { errnoName } from "../../base/errno.ts";
import { logger } from "../../base/log.ts";
import { heldBackWords, RateLimit } from "../../base/rate_limit.ts";
import { formatDuration, formatSize } from "../../base/units.ts";
import { BlockOp } from "../../block/request.ts";
import { type Counters, QueueCounter } from "../../multipath/counters.ts";
import { failedCount, type FailedRequest, lastFailed } from "../../multipath/failed_requests.ts";
import { statusWords } from "../../nvme_host/status.ts";

const log = logger("volume");

/** How often the counters are looked at. */
const LOOK_MS = 500;
/** Lines about failed requests: a few at once, and one in so long. */
const FAILURES_LOGGED = { burst: 5, perMs: 10_000 };
const HOLDS_LOGGED = { burst: 5, perMs: 10_000 };

const OP_WORDS: Readonly<Record<number, string>> = Object.freeze({
  [BlockOp.READ]: "read",
  [BlockOp.WRITE]: "write",
  [BlockOp.FLUSH]: "flush",
  [BlockOp.DISCARD]: "discard",
  [BlockOp.WRITE_ZEROES]: "write of zeroes",
});

/** What it watches. */
export interface WatchedIo {
  readonly name: string;
  readonly blockSize: () => number;
  /** One of each queue. */
  readonly counters: readonly Counters[];
  /** How a path is called; null if it is gone. */
  readonly pathWords: (path: number) => string | null;
  /** How long I/O waits for a path; null: without end; 0: it fails at once. */
  readonly waitMs: () => number | null;
  /** True once the volume is to go and its I/O waits for nothing any more. */
  readonly isGoing: () => boolean;
}

/** Logs what becomes of a volume's I/O: what failed, when it waits for a path, and when writes are held. */
export class IoWatch {
  readonly #io: WatchedIo;
  readonly #failures = new RateLimit(FAILURES_LOGGED);
  readonly #holds = new RateLimit(HOLDS_LOGGED);
  /** Failures of each queue that were seen. */
  readonly #seen: number[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #pathlessSinceMs: number | null = null;
  /** So many paths served when last told. */
  #serving = 0;
  /** A path stopped serving, and not all have served since. */
  #wasDegraded = false;
  #wasServed = false;
  #isHeldLogged = false;

  constructor(io: WatchedIo) {
    this.#io = io;
  }

  /** Begins to look at the counters. */
  begin(): void {
    this.#timer ??= setInterval(() => this.look(performance.now()), LOOK_MS);
  }

  /** Looks for the last time. */
  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.look(performance.now());
  }

  /** So many of the volume's paths serve I/O now. */
  handlePaths({ serving, all }: { serving: number; all: number }, nowMs: number): void {
    const { name } = this.#io;
    // A path that has never served is not missed: it may be new.
    const isFewer = serving < this.#serving;
    const isMore = serving > this.#serving;
    this.#serving = serving;
    if (serving === 0) return this.#handlePathless(nowMs);
    this.#wasServed = true;
    if (this.#pathlessSinceMs !== null) {
      log.info(`${name}: a path serves again: I/O goes on after ${secondsWords(nowMs - this.#pathlessSinceMs)}`);
    }
    this.#pathlessSinceMs = null;
    if (serving < all) this.#wasDegraded ||= isFewer;
    else if (this.#wasDegraded) {
      this.#wasDegraded = false;
      // Else those that did not serve were removed. One path has its own line above.
      if (isMore && all > 1) log.info(`${name}: all ${all} paths serve again`);
    }
  }

  #handlePathless(nowMs: number): void {
    if (this.#pathlessSinceMs !== null || !this.#wasServed) return;
    this.#pathlessSinceMs = nowMs;
    this.#wasDegraded = true;
    const waitMs = this.#io.waitMs();
    const most = waitMs === null ? "until one is back" : `for ${formatDuration(waitMs)} at most`;
    log.warn(`${this.#io.name}: no path is left: ${waitMs === 0 ? "I/O fails" : `I/O waits, ${most}`}`);
  }

  look(nowMs: number): void {
    this.#io.counters.forEach((counters, queue) => this.#lookAtFailures(counters, queue, nowMs));
    this.#lookAtHolds(nowMs);
  }

  #lookAtFailures(counters: Counters, queue: number, nowMs: number): void {
    const count = failedCount(counters);
    const more = count - (this.#seen[queue] ?? 0);
    this.#seen[queue] = count;
    if (more === 0) return;
    // One line stands for all that failed in a queue since the last look.
    const others = more === 1 ? "" : `; ${more - 1} more requests failed with it`;
    const heldBack = this.#failures.admit(nowMs);
    if (heldBack === null) return;
    log.error(`${this.#io.name}: ${this.#failedWords(lastFailed(counters))}${others}${heldBackWords(heldBack)}`);
  }

  #failedWords({ op, lba, blocks, errno, status, path, pathlessMs }: FailedRequest): string {
    const what = op === BlockOp.FLUSH
      ? "flush"
      : `${OP_WORDS[op]} of ${formatSize(blocks * this.#io.blockSize())} at LBA ${lba}`;
    const by = path < 0 ? null : this.#io.pathWords(path);
    const why = status !== 0
      ? `: ${statusWords(status)}${by === null ? "" : `, says ${by}`}`
      : pathlessMs >= 0 && this.#io.isGoing()
      ? ": the volume is being taken away"
      : pathlessMs >= 0
      ? `: no path for ${secondsWords(pathlessMs)}`
      : "";
    return `${what} failed with ${errnoName(errno)}${why}`;
  }

  #lookAtHolds(nowMs: number): void {
    const held = this.#io.counters.reduce((sum, counters) => sum + counters.queue(QueueCounter.HELD), 0);
    const { name } = this.#io;
    if (held > 0 && !this.#isHeldLogged) {
      const heldBack = this.#holds.admit(nowMs);
      if (heldBack === null) return;
      this.#isHeldLogged = true;
      log.info(`${name}: writes of a lost path are held (${held} now)${heldBackWords(heldBack)}`);
    } else if (held === 0 && this.#isHeldLogged) {
      this.#isHeldLogged = false;
      log.info(`${name}: no write is held any more`);
    }
  }
}

/** A time that was measured. */
function secondsWords(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
