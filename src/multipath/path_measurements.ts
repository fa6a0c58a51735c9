/**
 * What one queue measures of its paths: how much is in flight on each, and how long answers take. Reads and writes are
 * measured apart, for a write needs a round trip more. What people are shown is kept in the counters.
 *
 * When a path will answer its next command is estimated by a straight line: `base + slope * work`. The work is all that
 * is in flight, the new command included, in bytes; each command counts for some bytes besides its data. The base is
 * the shortest time that an answer has taken in the last seconds, which is the way there and back. The slope is what
 * answers took beyond that for each byte of the work that was in flight when their commands were sent: it is large on a
 * path that is slow or busy with others, whatever its distance. Where the line is too low, because a path has stopped
 * answering, the time since its last answer holds.
 */
import { PATHS_MAX } from "../base/limits.ts";
import { BlockOp } from "../block/request.ts";
import type { CommandTable } from "../nvme_host/command_table.ts";
import { Counters, PathCounter } from "./counters.ts";

/** Bytes that a command is worth besides its data: about what a path moves in the time that a command costs it. */
const COMMAND_BYTES = 4096;
/** The base is the shortest time of the present window of so long and of the one before. */
const WINDOW_MS = 1000;
/** Share of each new value in what is kept, at least: what is older than so many answers, or than a window, is forgotten. */
const GAIN_MIN = 1 / 32;

/** What is expected of a path of which nothing is known for each command that it has already: much. */
const UNKNOWN_MS = 10_000;

/** Index of reads and of writes in what is measured of a path. */
const READ = 0;
const WRITE = 1;
const KINDS = 2;

export class PathMeasurements {
  readonly #values: Float64Array;
  readonly #commands: (CommandTable | null)[] = new Array(PATHS_MAX).fill(null);
  /** Work that was in flight when a command was sent, it included; 0 for what is not measured. By path and command. */
  readonly #workAtSubmit: Float64Array[] = new Array(PATHS_MAX).fill(new Float64Array(0));
  readonly #lastUsedMs = new Float64Array(PATHS_MAX * KINDS);
  /** When the path answered last; while nothing is in flight on it, of no meaning. */
  readonly #lastHeardMs = new Float64Array(PATHS_MAX);
  readonly #shortestMs = new Float64Array(PATHS_MAX * KINDS);
  readonly #shortestBeforeMs = new Float64Array(PATHS_MAX * KINDS);
  /** The shorter of the two; infinite while nothing is known. */
  readonly #baseMs = new Float64Array(PATHS_MAX * KINDS);
  readonly #windowEndMs = new Float64Array(PATHS_MAX * KINDS);
  readonly #slope = new Float64Array(PATHS_MAX * KINDS);
  readonly #learnedAtMs = new Float64Array(PATHS_MAX * KINDS);

  constructor(counters: Counters) {
    this.#values = counters.values;
  }

  /** Begins anew with a path that has a new connection. */
  begin(path: number, commands: CommandTable): void {
    this.#commands[path] = commands;
    this.#workAtSubmit[path] = new Float64Array(commands.depth);
    for (let kind = READ; kind < KINDS; kind++) {
      const at = path * KINDS + kind;
      this.#shortestMs[at] = Infinity;
      this.#shortestBeforeMs[at] = Infinity;
      this.#baseMs[at] = Infinity;
      this.#windowEndMs[at] = 0;
      this.#slope[at] = 0;
      this.#learnedAtMs[at] = -Infinity;
      this.#lastUsedMs[at] = 0;
      this.#values[Counters.pathIndex(path, PathCounter.READ_MS + kind)] = 0;
      this.#values[Counters.pathIndex(path, PathCounter.READ_MS_MAX + kind)] = 0;
    }
    this.end(path);
  }

  /** Nothing is in flight on the path any more. */
  end(path: number): void {
    this.#values[Counters.pathIndex(path, PathCounter.IN_FLIGHT)] = 0;
    this.#values[Counters.pathIndex(path, PathCounter.BYTES_IN_FLIGHT)] = 0;
  }

  /** When a command of the kind of `op` was sent last; 0 if none was. */
  lastUsedMs(path: number, op: number): number {
    return this.#lastUsedMs[path * KINDS + kindOf(op)];
  }

  /** Notes that a command was sent, for a request with the operation `op`. */
  handleSubmitted(path: number, command: number, op: number, nowMs: number): void {
    const inFlightAt = Counters.pathIndex(path, PathCounter.IN_FLIGHT);
    const bytesAt = Counters.pathIndex(path, PathCounter.BYTES_IN_FLIGHT);
    const values = this.#values;
    if (values[inFlightAt] === 0) this.#lastHeardMs[path] = nowMs;
    this.#lastUsedMs[path * KINDS + kindOf(op)] = nowMs;
    const inFlight = ++values[inFlightAt];
    const bytes = values[bytesAt] += this.#commands[path]!.dataBytes[command];
    const isMeasured = op === BlockOp.READ || op === BlockOp.WRITE;
    this.#workAtSubmit[path][command] = isMeasured ? bytes + inFlight * COMMAND_BYTES : 0;
  }

  /** Notes that a command was answered, before its slot is released; only a good answer tells how fast the path is. */
  handleAnswered(path: number, command: number, op: number, nowMs: number): void {
    const commands = this.#commands[path]!;
    const values = this.#values;
    values[Counters.pathIndex(path, PathCounter.IN_FLIGHT)]--;
    values[Counters.pathIndex(path, PathCounter.BYTES_IN_FLIGHT)] -= commands.dataBytes[command];
    this.#lastHeardMs[path] = nowMs;
    const work = this.#workAtSubmit[path][command];
    if (work === 0 || commands.status[command] !== 0) return;
    const kind = kindOf(op);
    const tookMs = nowMs - commands.submittedAtMs[command];
    const at = path * KINDS + kind;
    values[Counters.pathIndex(path, PathCounter.READ_MS_SUM + kind)] += tookMs;
    const gain = Math.min(Math.max((nowMs - this.#learnedAtMs[at]) / WINDOW_MS, GAIN_MIN), 1);
    this.#learnedAtMs[at] = nowMs;
    this.#show(Counters.pathIndex(path, PathCounter.READ_MS + kind), tookMs, gain);
    this.#learnBase(at, tookMs, nowMs);
    const beyondMs = tookMs - this.#baseMs[at];
    this.#slope[at] += (beyondMs / work - this.#slope[at]) * gain;
  }

  #show(meanAt: number, tookMs: number, gain: number): void {
    const values = this.#values;
    const maxAt = meanAt + PathCounter.READ_MS_MAX - PathCounter.READ_MS;
    values[meanAt] += (tookMs - values[meanAt]) * gain;
    if (tookMs > values[maxAt]) values[maxAt] = tookMs;
  }

  #learnBase(at: number, tookMs: number, nowMs: number): void {
    if (nowMs >= this.#windowEndMs[at]) {
      this.#shortestBeforeMs[at] = this.#shortestMs[at];
      this.#shortestMs[at] = tookMs;
      this.#windowEndMs[at] = nowMs + WINDOW_MS;
    } else if (tookMs < this.#shortestMs[at]) this.#shortestMs[at] = tookMs;
    this.#baseMs[at] = Math.min(this.#shortestMs[at], this.#shortestBeforeMs[at]);
  }

  /**
   * When the path would answer a command of so many bytes that is sent now, in milliseconds. A path of which nothing is
   * known is tried at once, with one command. As long as only one of reads and writes is known, it stands for both.
   */
  expectedMs(path: number, op: number, bytes: number, nowMs: number): number {
    let at = path * KINDS + kindOf(op);
    if (this.#baseMs[at] === Infinity) at ^= 1;
    const inFlight = this.#values[Counters.pathIndex(path, PathCounter.IN_FLIGHT)];
    const silenceMs = inFlight === 0 ? 0 : nowMs - this.#lastHeardMs[path];
    const baseMs = this.#baseMs[at];
    if (baseMs === Infinity) return inFlight * UNKNOWN_MS;
    const work = this.#values[Counters.pathIndex(path, PathCounter.BYTES_IN_FLIGHT)] + bytes +
      (inFlight + 1) * COMMAND_BYTES;
    return Math.max(baseMs + this.#slope[at] * work, silenceMs);
  }
}

function kindOf(op: number): number {
  return op === BlockOp.READ ? READ : WRITE;
}
