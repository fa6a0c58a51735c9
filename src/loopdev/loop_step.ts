import type { LoopDevice } from "./device.ts";

/**
 * What a sequence asks of its driver, one thing at a time: the sequences are generators, the driver carries out what
 * they yield and passes the result to `next()`. Every step takes at most `deadlineMs`, after which its result is
 * -ETIMEDOUT. What may wait for the workers' answers must not run on a thread that they need.
 */
export type LoopStep =
  /** Open `/dev/fuse`; the result is the descriptor. */
  | { kind: "open-fuse"; deadlineMs: number }
  /** Make the empty file to mount over, and the folder that it is in. */
  | { kind: "make-file"; path: string; deadlineMs: number }
  /** Mount a file system of one regular file over the file; `fd` serves it. */
  | { kind: "mount"; path: string; fd: number; maxRead: number; deadlineMs: number }
  /** Read a request from `fd`; the result is its bytes, which are in `data`. */
  | { kind: "read-request"; fd: number; deadlineMs: number }
  | { kind: "write-answer"; fd: number; answer: Uint8Array<ArrayBuffer>; deadlineMs: number }
  /** Every worker gets a descriptor of its own and serves the file on it. */
  | { kind: "start-queues"; device: LoopDevice; deadlineMs: number }
  /** Open the file; the result is the descriptor. */
  | { kind: "open-file"; path: string; writable: boolean; deadlineMs: number }
  | { kind: "close-file"; fd: number; deadlineMs: number }
  /** Add a loop device under a number that none has; the result is the number. */
  | { kind: "add-loop"; deadlineMs: number }
  /** Remove a loop device that is bound to nothing and that nobody has open. */
  | { kind: "remove-loop"; number: number; deadlineMs: number }
  /** The number of a loop device that nobody uses: the same for everybody who asks. */
  | { kind: "find-loop"; deadlineMs: number }
  /** Note what there is of the device for whoever comes after this process. */
  | { kind: "note-device"; device: LoopDevice; isDetached: boolean; deadlineMs: number }
  /** Nothing is left of the device: its note goes. */
  | { kind: "forget-device"; device: LoopDevice; deadlineMs: number }
  /** Wait until a device node is there. */
  | { kind: "wait-node"; path: string; deadlineMs: number }
  /** Make the device node of loop device `number`, which nobody else has made. */
  | { kind: "make-node"; path: string; number: number; deadlineMs: number }
  | { kind: "remove-node"; path: string; deadlineMs: number }
  /** Bind the loop device at `path` to the open file. */
  | ConfigureStep
  /** `LO_FLAGS_*` of the loop device. */
  | BoundStep<"loop-flags">
  /** Bytes of the file as the kernel knows it. */
  | { kind: "file-size"; path: string; deadlineMs: number }
  /** The loop device takes over the size that its file has by now. */
  | BoundStep<"resize-loop">
  /** Unbind the loop device, at the latest when its last user closes it. */
  | BoundStep<"clear-loop">
  /** Take back a "clear-loop" that waits for a user. */
  | BoundStep<"keep-loop">
  /** Unmount, although somebody has the file open: what they wait for fails. */
  | { kind: "unmount"; path: string; deadlineMs: number }
  /** Wait until no worker has anything of the file in the kernel or in its device. */
  | { kind: "drain-queues"; device: LoopDevice; deadlineMs: number }
  /** Close the descriptors of the workers and `fd`. */
  | { kind: "close-fuse"; device: LoopDevice; deadlineMs: number }
  /** Remove the file that was mounted over. */
  | { kind: "remove-file"; path: string; deadlineMs: number }
  /** Wait for `deadlineMs`. */
  | { kind: "pause"; deadlineMs: number };

/**
 * What is asked of a loop device that is bound, if it still is the disk of that sequence number: -ENXIO if it is bound to
 * nothing, -ESTALE if it is bound to what is not ours. The descriptor that is compared is the one that is worked on.
 */
export interface BoundStep<Kind extends string> {
  kind: Kind;
  path: string;
  sequence: string;
  deadlineMs: number;
}

/** LOOP_CONFIGURE. */
export interface ConfigureStep {
  kind: "configure-loop";
  path: string;
  fd: number;
  /** Logical block size in bytes. */
  blockSize: number;
  /** Bits of `LoopFlag`. */
  flags: number;
  /** What the kernel calls the file. */
  name: string;
  deadlineMs: number;
}

/** How a step ended: 0 or more, or a negative errno. */
export interface LoopResult {
  result: number;
  /** What "read-request" has read. */
  data?: Uint8Array;
  /** The sequence number that "configure-loop" gave the disk. */
  sequence?: string;
}

/** A sequence that ends with `Value`, or throws an `UmpathError` after it has undone what it did. */
export type LoopSequence<Value> = Generator<LoopStep, Value, LoopResult>;

/** How long each step may take, in milliseconds. */
export const LOOP_DEADLINES_MS = Object.freeze({
  /** What takes no time unless the kernel is stuck. */
  quick: 5_000,
  /** The workers come up, and the first path with them. */
  start: 30_000,
  /** Binding scans for partitions, which is I/O. */
  configure: 30_000,
  /** Unbinding writes back what the kernel has cached of the device. */
  clear: 30_000,
  /** Nodes come from devtmpfs at once; where there is none, we make them. */
  node: 500,
  /** Requests that were read are answered before their queue is drained. */
  drain: 10_000,
  /** How often a loop device is looked at that is to be gone. */
  poll: 50,
});
