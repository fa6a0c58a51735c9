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

/**
 * Bytes of one request of a loop device, and of its buffer: the most that the FUSE driver sends (256 pages of 4 KiB).
 */
export const LOOP_REQUEST_BYTES = 1 << 20;

/** Bytes of a region of an arena, which all buffers of one queue lie in: offsets into it stay 31-bit integers. */
export const REGION_BYTES_MAX = 2 ** 31 - 1;

/**
 * Address space that an arena reserves at a time. Far above that, V8 takes the buffers over it for a shortage of memory and
 * collects garbage for every 64 MiB of other buffers.
 */
export const ARENA_MAPPING_BYTES = 2 ** 32;

/**
 * Mappings that a limit on address space has room for: where there is one, an arena reserves less at a time, so that what
 * it has no use for yet is left for the rest of the process.
 */
export const ARENA_MAPPINGS_LIMITED = 128;

/** Mappings of one arena: two of the largest regions lie in each, and a target's worker may have all its connections. */
export const ARENA_MAPPINGS_MAX = 512;

/**
 * Write Zeroes that one request is split into, all in flight at once: a controller answers many as soon as one, and other
 * requests wait for no more than these.
 */
export const ZEROES_PARTS_MAX = 16;

/** Times that one request is sent again after answers that ask for it, before it fails. */
export const RETRIES_MAX = 16;

/** Times that one request is sent again after the connection that it was on has ended, before it fails. */
export const LOSSES_MAX = 16;

/** Delay before a request is sent again that a controller could not take just now, for each time it was refused. */
export const RETRY_DELAY_MS = 100;
export const RETRY_DELAY_MS_MAX = 2_000;

/** The longest delay before a retry that a controller can ask for: CRDT goes up to 109 minutes, and nobody waits so long. */
export const CONTROLLER_DELAY_MS_MAX = 30_000;

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

/** Controllers of one target, those of discovery too: sixteen hosts with every path, each with its buffers. */
export const TARGET_CONTROLLERS_MAX = 256;

/** Namespaces of one target: Identify lists them in one page, and each open file takes a descriptor. */
export const NAMESPACES_MAX = 64;

/** Faults on one target: each is looked at for every command that it may hit. */
export const FAULT_RULES_MAX = 64;

/** I/O connections of one target: each worker looks at all of its own in every turn. */
export const TARGET_CONNECTIONS_MAX = 1024;

/** I/O queues of one controller of a target: more than any host has data-plane threads. */
export const TARGET_IO_QUEUES_MAX = 64;

/** Data of one command to a target, in bytes (MDTS). */
export const TARGET_TRANSFER_BYTES = 1 << 20;

/** One Write Zeroes to a target, in bytes (WZSL): it takes no longer than a few transfers, for it punches a hole. */
export const TARGET_WRITE_ZEROES_BYTES = 32 << 20;

/** Data that a capsule to a target may carry, in bytes: a host need not send more than that before it is asked. */
export const TARGET_IN_CAPSULE_BYTES_MAX = 64 << 10;

/** A connection to a target that is not connected to a queue in so long is closed. */
export const TARGET_HANDSHAKE_MS = 10_000;

/** Connections to a target that are not connected to a queue yet. */
export const TARGET_HANDSHAKES_MAX = 256;

/** An admin command other than the asynchronous event request is answered in so long. */
export const ADMIN_TIMEOUT_MS = 10_000;

assert(RETRY_DELAY_MS <= RETRY_DELAY_MS_MAX, "A retry's first delay is not its longest");
assert(TICK_MS <= RETRY_DELAY_MS, "Deadlines are looked at often enough to keep the shortest delay");
assert(TARGET_LISTENERS_MAX >= PATHS_MAX, "A target can offer every path that a volume can have");
assert(QUEUE_DEPTH_DEFAULT <= QUEUE_DEPTH_MAX, "The default depth is allowed");
assert(QUEUE_DEPTH_MAX * REQUEST_BYTES_MAX <= REGION_BYTES_MAX, "All buffers of the deepest queue fit in its region");
assert(
  QUEUE_DEPTH_MAX * LOOP_REQUEST_BYTES <= REGION_BYTES_MAX,
  "So do those of a loop device",
);
assert(
  (QUEUE_DEPTH_MAX + 16) * TARGET_TRANSFER_BYTES <= REGION_BYTES_MAX,
  "All buffers of the deepest queue of a target fit in its region",
);
assert(
  ARENA_MAPPINGS_MAX * Math.floor(ARENA_MAPPING_BYTES / (REGION_BYTES_MAX + 1)) >= TARGET_CONNECTIONS_MAX,
  "One worker of a target has room for all connections, however large they are",
);
