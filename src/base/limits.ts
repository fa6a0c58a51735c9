/** Every bound of umpath, with its reason. Relations between them are checked when this file is loaded. */
import { assert } from "./assert.ts";

/** Paths of one volume: two fabrics of four ports each, twice over. */
export const PATHS_MAX = 16;

/** Volumes of one daemon: the owner of a completion token has 24 bits, and a ublk device takes three descriptors. */
export const VOLUMES_MAX = 256;

/** Workers of one daemon: past four the target is the limit, not the host. */
export const WORKERS_MAX = 64;
export const WORKERS_DEFAULT_MAX = 4;

/** Requests in flight in one queue of a device; the ublk driver takes up to 4096. */
export const QUEUE_DEPTH_MAX = 1024;
export const QUEUE_DEPTH_DEFAULT = 128;

/** Bytes of one request, and of its buffer. The kernel splits what is larger; buffers are only backed once used. */
export const REQUEST_BYTES_MAX = 512 << 10;

/** Bytes of all request buffers of one queue: offsets into the arena stay 31-bit integers. */
export const ARENA_BYTES_MAX = 2 ** 31 - 1;

/** Times that one request is sent again after answers that ask for it, before it fails. */
export const RETRIES_MAX = 16;

/** Delay before a request is sent again that a controller could not take just now, for each time it was refused. */
export const RETRY_DELAY_MS = 100;
export const RETRY_DELAY_MS_MAX = 2_000;

/** How often a queue with anything in it looks at its deadlines. It bounds how late a deadline is noticed. */
export const TICK_MS = 100;

/**
 * Spinning before a sleep: a wake-up here and one at a target that has gone to sleep as well. Much shorter, and half of
 * the spins end just before the answer comes.
 */
export const SPIN_US = 50;

/** Admin commands of ours in flight on one controller: bring-up, keep-alive, events and one log page need five. */
export const ADMIN_QUEUE_SLOTS = 8;

/** Largest data of one admin command: the largest ANA log that is read at once. */
export const ADMIN_DATA_BYTES = 65536;

/** Listeners of one target: as many as a volume may have paths. */
export const TARGET_LISTENERS_MAX = 16;

/** Namespaces of one target: Identify lists them in one page, and each open file takes a descriptor. */
export const NAMESPACES_MAX = 64;

/** Faults on one target: each is looked at for every command that it may hit. */
export const FAULT_RULES_MAX = 64;

/** An admin command other than the asynchronous event request is answered in so long. */
export const ADMIN_TIMEOUT_MS = 10_000;

assert(RETRY_DELAY_MS <= RETRY_DELAY_MS_MAX, "A retry's first delay is not its longest");
assert(TICK_MS <= RETRY_DELAY_MS, "Deadlines are looked at often enough to keep the shortest delay");
assert(TARGET_LISTENERS_MAX >= PATHS_MAX, "A target can offer every path that a volume can have");
assert(QUEUE_DEPTH_DEFAULT <= QUEUE_DEPTH_MAX, "The default depth is allowed");
assert(QUEUE_DEPTH_MAX * REQUEST_BYTES_MAX <= ARENA_BYTES_MAX, "All buffers of the deepest queue fit in its arena");
