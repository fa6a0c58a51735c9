/** The mutants: a line of the code, what it becomes, and the tests that hold it. */
import type { Mutant } from "../../scripts/mutants.ts";

const MEETING = "tests/unit/multipath/multipath_queue_meeting_test.ts";
const VOLUME = "tests/unit/multipath/multipath_queue_test.ts";
const HEDGED = "tests/unit/multipath/hedged_reads_test.ts";
const SLOW = "tests/unit/multipath/slow_paths_test.ts";

function row(file: string, before: string, after: string, ...tests: string[]): Mutant {
  return { file, before, after, tests };
}

/** Those that no test held once: each lives where two behaviours meet. */
const FORMER_SURVIVORS: Mutant[] = [
  row(
    "src/multipath/request_states.ts",
    "holdPaths[slot] = (holdPaths[slot] & ~bit) | HELD_BY_TIME;",
    "holdPaths[slot] &= ~bit;",
    MEETING,
  ),
  row(
    "src/multipath/path_choice.ts",
    'if (this.#connections[path]!.state !== "ready") return 0;',
    "",
    MEETING,
  ),
  row(
    "src/multipath/request_states.ts",
    "    this.parts[slot] = 0;\n    this.lastStatus[slot] = 0;\n",
    "    this.parts[slot] = 0;\n",
    MEETING,
  ),
  row(
    "src/multipath/retries.ts",
    "controllerDelayMs[slot] = Math.max(controllerDelayMs[slot], delayMs);",
    "controllerDelayMs[slot] = delayMs;",
    MEETING,
  ),
  row("src/multipath/retries.ts", "if (isDelayed) states.refusedPaths[slot] = 0;", "", MEETING),
  row("src/multipath/retries.ts", "if (lossesAlone > 0) this.#states.refusedPaths[slot] = 0;", "", MEETING),
  row("src/multipath/path_choice.ts", "if (this.#limits[path]!.maxTransferBytes < bytes) continue;", "", HEDGED),
  row(
    "src/multipath/hedged_reads.ts",
    "this.#tokens = Math.min(this.#tokens + SHARE_MAX, BURST_MAX);",
    "this.#tokens += SHARE_MAX;",
    HEDGED,
  ),
  row("src/multipath/slow_paths.ts", "if (this.isMoved) this.kinds.forEach((kind) => kind.forget());", "", SLOW),
  row(
    "src/multipath/slow_paths.ts",
    "Math.max(peerMs * NEAR_FACTOR, peerMs + NEAR_BEYOND_MS)",
    "peerMs * NEAR_FACTOR",
    SLOW,
  ),
  row("src/multipath/weighted.ts", "        earned[path] = 0;\n", "", "tests/unit/multipath/weighted_test.ts"),
  row(
    "src/multipath/command_encoder.ts",
    "(this.#states.parts[slot] * Dsm.RANGE_BYTES) % this.#requests.bufferBytes",
    "this.#states.parts[slot] * Dsm.RANGE_BYTES",
    MEETING,
  ),
  row(
    "src/host/driver/namespace_watch.ts",
    "if (!this.#sizes.has(path)) return;",
    "",
    "tests/unit/host/driver/namespace_watch_test.ts",
  ),
];

/** Those that were killed as soon as they were tried; so should they stay. */
const HELD: Mutant[] = [
  row(
    "src/multipath/command_encoder.ts",
    "    range.lbaHigh = requests.lbaHigh[slot] + (low > 0xffffffff ? 1 : 0);\n    range.blocks = Math.min(",
    "    range.lbaHigh = requests.lbaHigh[slot];\n    range.blocks = Math.min(",
    VOLUME,
  ),
  row(
    "src/nvme_host/backoff.ts",
    "Math.round(fullMs / 2 + this.#prng.unit() * fullMs / 2)",
    "Math.round(fullMs)",
    "tests/unit/nvme_host/backoff_test.ts",
  ),
  row("src/multipath/slow_paths.ts", "Math.min(this.holdMs * 2, HOLD_MS_MAX) : HOLD_MS", "this.holdMs : HOLD_MS", SLOW),
  row(
    "src/multipath/slow_paths.ts",
    "const isSilent = options.silentMs > 0 && this.#count === 0;",
    "const isSilent = false;",
    SLOW,
  ),
  row("src/multipath/path_probe.ts", "nowMs - this.#lastMs < PROBE_MS", "nowMs < this.#lastMs", SLOW),
  row(
    "src/multipath/failback.ts",
    "if (this.#isAway(path)) this.#setStandby(path, true);",
    "if (this.#isAway(path)) this.#setStandby(path, false);",
    "tests/unit/multipath/failback_test.ts",
  ),
  row("src/multipath/hedged_reads.ts", "commands.owner[read.command] = owner;", "", HEDGED),
  row(
    "src/multipath/hedged_reads.ts",
    "    commands.owner[read.command] = owner;\n    this.#free.pop();\n",
    "    commands.owner[read.command] = owner;\n",
    HEDGED,
  ),
  row(
    "src/multipath/multipath_queue.ts",
    "if (states.holdUntilMs[slot] !== 0 && states.holdUntilMs[slot] > this.#nowMs && !this.#table.isGivenUp) {",
    "if (states.error[slot] === 0 && states.holdUntilMs[slot] > this.#nowMs && !this.#table.isGivenUp) {",
    VOLUME,
  ),
  row(
    "src/ublk/tags.ts",
    "      if (state === TagState.ANSWERED) this.#inFlight--;\n",
    "",
    "tests/unit/ublk/tags_test.ts",
  ),
  row(
    "src/nvme_host/pdu_writer.ts",
    "return Math.ceil(value / alignment) * alignment;",
    "return value;",
    "tests/unit/nvme_host/connection_transfer_test.ts",
  ),
  row(
    "src/nvme_host/ana.ts",
    "if (groups.has(group.groupId)) throw",
    "if (false) throw",
    "tests/unit/nvme_host/ana_test.ts",
  ),
  row(
    "src/nvme_host/keep_alive.ts",
    "this.#intervalMs = options.keepAliveMs / 2;",
    "this.#intervalMs = options.keepAliveMs;",
    "tests/unit/nvme_host/keep_alive_test.ts",
  ),
  row(
    "src/nvme_host/command_table.ts",
    "if (this.cid[slot] === CID_NONE) this.cid[slot] += 1 << this.#slotBits;",
    "",
    "tests/unit/nvme_host/command_table_test.ts",
  ),
];

export const MUTANTS: readonly Mutant[] = [...FORMER_SURVIVORS, ...HELD];
