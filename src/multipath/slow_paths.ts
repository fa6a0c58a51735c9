/**
 * Which paths of a volume are slow: persistently several times slower than the fastest of their peers, which are the
 * paths of the same ANA state. The control plane looks at what all queues have counted, a few times a second, so that
 * one judgement holds for the volume, made of all its answers; the workers read the result with the path table.
 *
 *     in use ── slow for SLOW_LOOKS verdicts and SLOW_MS ──► slow
 *        ▲                                                    │
 *        └── near its peers for GOOD_LOOKS verdicts, after ───┘
 *            the hold, or no peer that is not slow is left
 *
 * A verdict is on the mean of so many answers, reads and writes apart; what is between slow and near is neither, and
 * changes nothing. The hold doubles each time that a path becomes slow again soon, for some paths look well only while
 * nobody uses them. Pure: counters and time are arguments.
 *
 * Invariant: of the peers that serve, at least one is not slow.
 */
import { PATHS_MAX } from "../base/limits.ts";

/** Slow is what takes so many times as long as the fastest peer, and so much longer: below that nobody minds. */
const SLOW_FACTOR = 4;
const SLOW_BEYOND_MS = 1;
/** Near again is what takes at most so many times as long, or little longer. */
const NEAR_FACTOR = 2;
const NEAR_BEYOND_MS = 0.5;
/** A verdict needs so many answers; of a path that is only probed, fewer. */
const ANSWERS_MIN = 8;
const ANSWERS_PROBED_MIN = 4;
/** So many verdicts in a row over so long make a path slow: a pause of a second does not. */
const SLOW_LOOKS = 4;
const SLOW_MS = 3_000;
const GOOD_LOOKS = 2;
/** A slow path stays so for so long, at least; twice as long each time that it is slow again within `RELAPSE_MS`. */
const HOLD_MS = 5_000;
const HOLD_MS_MAX = 300_000;
const RELAPSE_MS = 600_000;
/** What a path took longer ago says nothing of it now. */
const STALE_MS = 10_000;

/** What was counted of a path since it was made, over all queues. */
export interface PathTotals {
  /** 0: it does not serve. Otherwise paths of the same number are peers. */
  rank: number;
  inFlight: number;
  reads: number;
  readMs: number;
  writes: number;
  writeMs: number;
}

/** A change of one path, and the mean times that it is judged by. */
export interface SlowChange {
  readonly path: number;
  readonly isSlow: boolean;
  /** "reads" or "writes". */
  readonly what: string;
  /** Of the path, and of its fastest peer; both 0 where no peer is left to compare with. */
  readonly tookMs: number;
  readonly peerMs: number;
}

/** What the answers of one kind took of late. */
class Kind {
  readonly what: string;
  /** The mean of the last verdict. */
  meanMs = 0;
  /** Verdicts in a row that speak for a change, and when the first was. */
  streak = 0;
  streakSinceMs = 0;
  #knownAtMs = -Infinity;
  #count = 0;
  #sumMs = 0;
  #seenCount = NaN;
  #seenSumMs = 0;

  constructor(what: string) {
    this.what = what;
  }

  /** Takes the totals; true if they make a new mean. `silentMs`: nothing at all was answered for so long. */
  look(count: number, sumMs: number, options: { answersMin: number; silentMs: number; nowMs: number }): boolean {
    // Otherwise the counters began anew, or this is the first look.
    if (count >= this.#seenCount) {
      this.#count += count - this.#seenCount;
      this.#sumMs += sumMs - this.#seenSumMs;
    }
    this.#seenCount = count;
    this.#seenSumMs = sumMs;
    const isSilent = options.silentMs > 0 && this.#count === 0;
    if (this.#count < options.answersMin && !isSilent) return false;
    this.meanMs = isSilent ? options.silentMs : this.#sumMs / this.#count;
    this.#knownAtMs = options.nowMs;
    this.#count = 0;
    this.#sumMs = 0;
    return true;
  }

  isKnown(nowMs: number): boolean {
    return nowMs - this.#knownAtMs <= STALE_MS;
  }

  forget(): void {
    this.#knownAtMs = -Infinity;
    this.streak = 0;
  }

  /** Counts a verdict that speaks for a change, or that does not. */
  count(speaks: boolean, nowMs: number): void {
    if (!speaks) this.streak = 0;
    else if (this.streak++ === 0) this.streakSinceMs = nowMs;
  }
}

/** One path, as it was seen. */
class SeenPath {
  readonly kinds = [new Kind("reads"), new Kind("writes")];
  rank = 0;
  isSlow = false;
  /** When the present state of `isSlow` began. */
  sinceMs = -Infinity;
  holdMs = 0;
  /** It has other peers than at the look before. */
  isMoved = false;
  #answered = NaN;
  #silentSinceMs = 0;

  /** Takes the totals of one moment: the kinds that have a new mean. */
  look(totals: PathTotals, nowMs: number): Kind[] {
    this.isMoved = totals.rank !== this.rank;
    if (this.isMoved) this.kinds.forEach((kind) => kind.forget());
    this.rank = totals.rank;
    const answered = totals.reads + totals.writes;
    if (totals.inFlight === 0 || answered !== this.#answered) this.#silentSinceMs = nowMs;
    this.#answered = answered;
    const answersMin = this.isSlow ? ANSWERS_PROBED_MIN : ANSWERS_MIN;
    const options = { answersMin, silentMs: nowMs - this.#silentSinceMs, nowMs };
    const [reads, writes] = this.kinds;
    const hasReads = reads.look(totals.reads, totals.readMs, options);
    const hasWrites = writes.look(totals.writes, totals.writeMs, options);
    return [...hasReads ? [reads] : [], ...hasWrites ? [writes] : []];
  }

  become(isSlow: boolean, nowMs: number): void {
    if (isSlow) {
      const isRelapse = this.holdMs > 0 && nowMs - this.sinceMs < RELAPSE_MS;
      this.holdMs = isRelapse ? Math.min(this.holdMs * 2, HOLD_MS_MAX) : HOLD_MS;
    }
    this.isSlow = isSlow;
    this.sinceMs = nowMs;
    this.kinds.forEach((kind) => kind.streak = 0);
  }
}

export class SlowPaths {
  readonly #paths = Array.from({ length: PATHS_MAX }, () => new SeenPath());
  #changes: SlowChange[] = [];

  /** The slow paths, a bit each. */
  get mask(): number {
    return this.#paths.reduce((mask, { isSlow }, path) => isSlow ? mask | (1 << path) : mask, 0);
  }

  /** Another path has the index from now on. */
  forget(path: number): void {
    this.#paths[path] = new SeenPath();
  }

  /** What has changed since the last call. */
  takeChanges(): SlowChange[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  /** Looks at the totals of every path; what is not there does not serve. */
  handleLook(totals: readonly PathTotals[], nowMs: number): void {
    const fresh = this.#paths.map((path, i) => path.look(totals[i] ?? NOT_SERVING, nowMs));
    this.#paths.forEach((path, i) => {
      if (!path.isSlow) this.#judgeFast(i, fresh[i], nowMs);
      else if (!path.isMoved && this.#hasGoodPeer(path)) this.#judgeSlow(i, fresh[i], nowMs);
      else this.#change(i, null, nowMs);
    });
  }

  #hasGoodPeer(path: SeenPath): boolean {
    return this.#paths.some((other) => other.rank === path.rank && !other.isSlow);
  }

  /** Either kind is enough to make a path slow. */
  #judgeFast(index: number, fresh: Kind[], nowMs: number): void {
    const path = this.#paths[index];
    if (path.rank === 0) return;
    for (const kind of fresh) {
      const peerMs = this.#fastestMs(path, kind, nowMs);
      kind.count(kind.meanMs >= Math.max(peerMs * SLOW_FACTOR, peerMs + SLOW_BEYOND_MS), nowMs);
    }
    const slow = fresh.find((kind) => kind.streak >= SLOW_LOOKS && nowMs - kind.streakSinceMs >= SLOW_MS);
    if (slow !== undefined) this.#change(index, slow, nowMs);
  }

  /** Both kinds, as far as they are in use, must be near those of the peers again. */
  #judgeSlow(index: number, fresh: Kind[], nowMs: number): void {
    const path = this.#paths[index];
    for (const kind of fresh) {
      const peerMs = this.#fastestMs(path, kind, nowMs);
      const isNear = kind.meanMs <= Math.max(peerMs * NEAR_FACTOR, peerMs + NEAR_BEYOND_MS);
      if (peerMs !== Infinity) kind.count(isNear, nowMs);
    }
    if (fresh.length === 0 || nowMs - path.sinceMs < path.holdMs) return;
    const isNear = path.kinds.every((kind) => kind.streak >= GOOD_LOOKS || !kind.isKnown(nowMs));
    const near = fresh.find((kind) => kind.streak >= GOOD_LOOKS);
    if (isNear && near !== undefined) this.#change(index, near, nowMs);
  }

  /** What the fastest peer takes that is not slow; infinite if none is known. */
  #fastestMs(path: SeenPath, { what }: Kind, nowMs: number): number {
    let fastestMs = Infinity;
    for (const other of this.#paths) {
      if (other === path || other.rank !== path.rank || other.isSlow) continue;
      const kind = other.kinds.find((each) => each.what === what)!;
      if (kind.isKnown(nowMs)) fastestMs = Math.min(fastestMs, kind.meanMs);
    }
    return fastestMs;
  }

  #change(index: number, kind: Kind | null, nowMs: number): void {
    const path = this.#paths[index];
    const isSlow = !path.isSlow;
    const times = kind === null ? null : { tookMs: kind.meanMs, peerMs: this.#fastestMs(path, kind, nowMs) };
    this.#changes.push({ path: index, isSlow, what: kind?.what ?? "", ...times ?? { tookMs: 0, peerMs: 0 } });
    path.become(isSlow, nowMs);
  }
}

const NOT_SERVING: PathTotals = { rank: 0, inFlight: 0, reads: 0, readMs: 0, writes: 0, writeMs: 0 };
