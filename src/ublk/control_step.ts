import { legacyOp, UBLK_ANY_DEVICE, UBLK_NO_QUEUE, UblkCommand, type UblkCommandName } from "../protocol/ublk.ts";
import type { UblkDevice } from "./device.ts";

/**
 * What a control sequence asks of its driver, one thing at a time: the sequences are generators, the driver carries
 * out what they yield and passes the result to `next()`. Every step takes at most `deadlineMs`, after which its result
 * is -ETIMEDOUT.
 */
export type ControlStep =
  | CommandStep
  /** Open `/dev/ublk-control`, or do nothing if it is open. */
  | { kind: "open-control"; path: string; deadlineMs: number }
  /** Wait until a device node is there; how is up to the driver. */
  | { kind: "wait-node"; path: string; deadlineMs: number }
  /** Open `/dev/ublkcN` once for the whole process; the result is the descriptor. */
  | { kind: "open-char-device"; path: string; deadlineMs: number }
  /** Every worker maps its queue and submits FETCH_REQ for every tag; done when the kernel has taken all of them. */
  | { kind: "start-queues"; device: UblkDevice; deadlineMs: number }
  /**
   * Wait until every queue is drained; one that was not started, or only in part, is closed first. After the deadline
   * the workers leave their rings all the same.
   */
  | { kind: "drain-queues"; device: UblkDevice; deadlineMs: number }
  /** Unmap the descriptors and close `/dev/ublkcN`. */
  | { kind: "close-char-device"; device: UblkDevice; deadlineMs: number }
  /** Does that very process run? The result is 1 or 0. */
  | { kind: "server-runs"; server: Server; deadlineMs: number }
  /** Wait for `deadlineMs`. */
  | { kind: "pause"; deadlineMs: number };

/** The process that made a device; one that was given its number later is another. */
export interface Server {
  pid: number;
  /** When it started, as the kernel counts; null where only the number is known. */
  start: string | null;
}

/** A control command: one uring_cmd on `/dev/ublk-control`, which blocks and is sent off the main thread. */
export interface CommandStep {
  kind: "command";
  name: UblkCommandName;
  /** `cmd_op`, ioctl-encoded or legacy. */
  op: number;
  devId: number;
  queueId: number;
  /**
   * What `addr` and `len` point to. The kernel reads it or writes into it until the command is done, even if that is
   * after the deadline: keep it alive so long.
   */
  buffer: Uint8Array<ArrayBuffer> | null;
  /** `data[0]`. */
  data0: bigint;
  deadlineMs: number;
}

/** How a step ended: 0 or more, or a negative errno. */
export interface ControlResult {
  result: number;
}

/** A control sequence that ends with `Value`, or throws an `UmpathError` after it has undone what it did. */
export type ControlSequence<Value> = Generator<ControlStep, Value, ControlResult>;

/** How long each step may take, in milliseconds. */
export const CONTROL_DEADLINES_MS = Object.freeze({
  /** What takes no time unless the driver is stuck. */
  quick: 5_000,
  /** ADD_DEV allocates every queue, and hangs for ever on kernels whose driver has oopsed before. */
  add: 10_000,
  /** START_DEV waits for every FETCH_REQ and scans for partitions, which is I/O. */
  start: 30_000,
  /** STOP_DEV waits for the I/O in flight. */
  stop: 30_000,
  /** Tags are aborted before STOP_DEV returns; what is left is for the workers to see it. */
  drain: 5_000,
  /** DEL_DEV waits until nobody has `/dev/ublkbN` open. */
  delete: 10_000,
  /** Nodes come from devtmpfs at once, from a udev in trouble later. */
  node: 5_000,
  /** Between two attempts to open `/dev/ublkcN`. */
  openRetry: 50,
});

/** What a command is sent with, besides its name. */
export interface CommandOptions {
  ioctlEncode: boolean;
  devId?: number;
  buffer?: Uint8Array<ArrayBuffer>;
  data0?: bigint;
  deadlineMs?: number;
}

/** What a command to a device is sent with, besides its name. */
export type DeviceStepOptions = Pick<CommandOptions, "buffer" | "data0" | "deadlineMs">;

/** The step that sends one control command. */
export function commandStep(name: UblkCommandName, options: CommandOptions): CommandStep {
  return {
    kind: "command",
    name,
    op: options.ioctlEncode ? UblkCommand[name] : legacyOp(UblkCommand[name]),
    devId: options.devId ?? UBLK_ANY_DEVICE,
    queueId: UBLK_NO_QUEUE,
    buffer: options.buffer ?? null,
    data0: options.data0 ?? 0n,
    deadlineMs: options.deadlineMs ?? CONTROL_DEADLINES_MS.quick,
  };
}

/** The step that sends one control command to a device that was added. */
export function deviceStep(name: UblkCommandName, device: UblkDevice, options: DeviceStepOptions = {}): CommandStep {
  return commandStep(name, { ioctlEncode: device.ioctlEncode, devId: device.devId, ...options });
}
