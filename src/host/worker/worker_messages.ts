/** What the main thread and the workers of the daemon tell each other; `src/io/worker_inbox.ts` says how. */
import type { WireError } from "../../base/errors.ts";
import type { Geometry } from "../../block/device.ts";
import type { LoadPlan } from "../../block/verified_load.ts";
import type { PathLimits } from "../../multipath/multipath_queue.ts";
import type { TransferParameters } from "../../nvme_host/connection.ts";

/** What the queues of a volume share to hand requests over to each other. */
export interface Neighbours {
  /** The number of the queue that gets this. */
  queue: number;
  /** Memory of the HandoverTable. */
  handover: SharedArrayBuffer;
  /** Memory of the RegionPlaces: where each queue's buffers are, which it fills in. */
  places: SharedArrayBuffer;
  /** What wakes the worker of each queue. */
  wakeFds: number[];
}

/** One queue of a new volume; answered by "volume-added". */
export interface AddVolume {
  type: "add-volume";
  volume: number;
  geometry: Geometry;
  nsid: number;
  depth: number;
  /** Bytes of each request buffer. */
  requestBytes: number;
  /** Memory of the PathTable and of this worker's Counters. */
  paths: SharedArrayBuffer;
  counters: SharedArrayBuffer;
  /** Null if the volume has one queue. */
  neighbours: Neighbours | null;
  /** The ublk queue that feeds it; null if the kernel device is another one, or there is none. */
  ublk: { charFd: number; queueId: number; ioctlEncode: boolean } | null;
  /** The worker's descriptor of the FUSE file system that a loop device is over, if it is one. */
  fuse?: { fd: number } | null;
}

/** An open I/O queue pair of a path. `link` is never used twice in the life of a daemon. */
export interface AddLink {
  type: "add-link";
  volume: number;
  path: number;
  link: number;
  fd: number;
  depth: number;
  inCapsuleBytes: number;
  transfer: TransferParameters;
  limits: PathLimits;
}

export type ToWorker =
  | AddVolume
  | AddLink
  /** Ends a link; answered by "link-closed". */
  | { type: "close-link"; volume: number; path: number; link: number }
  /** Begins to take requests; answered by "queue-started" once the kernel has every tag, or the poll for requests. */
  | { type: "start-queue"; volume: number }
  /** Gives the kernel no more commands: the device was not started or could not be stopped. */
  | { type: "abandon-queue"; volume: number }
  /** Drives a volume that has no kernel device; it obeys the plan's control until the volume is removed. */
  | { type: "start-load"; volume: number; plan: LoadPlan }
  /** The old controller of the path executes nothing any more. */
  | { type: "release-held"; volume: number; path: number }
  /** The namespace has another size; answered by "volume-resized". */
  | { type: "resize-volume"; volume: number; blocks: number }
  /** Answered by "volume-removed" when no link, tag or request is left. */
  | { type: "remove-volume"; volume: number }
  /** Looks at the beats of the main thread, and logs if they end: which thread that is, and what it may take. */
  | { type: "watch-main"; beats: SharedArrayBuffer; tid: number; stillMsMax: number }
  | { type: "stop" };

export type FromWorker =
  /** The answer to "add-volume"; `failure` says why the worker does not have it, null if it does. */
  | { type: "volume-added"; volume: number; failure: WireError | null }
  | { type: "queue-started"; volume: number }
  /** Every tag of the queue is over. `failure` is a negative errno other than the normal end, or 0. */
  | { type: "queue-drained"; volume: number; failure: number }
  /** The kernel device may be gone: who knows where to look is to look. */
  | { type: "device-doubt"; volume: number }
  /** The link failed by itself; "link-closed" follows when its socket is quiet. */
  | { type: "link-failed"; volume: number; path: number; link: number; reason: string }
  | { type: "link-closed"; volume: number; path: number; link: number }
  /** An answer puts the path's ANA state in doubt. */
  | { type: "ana-doubt"; volume: number; path: number }
  | { type: "volume-resized"; volume: number }
  | { type: "volume-removed"; volume: number };
