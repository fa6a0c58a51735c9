import { assert } from "../base/assert.ts";
import { EACCES, EBUSY, ENODEV, ENOENT } from "../base/errno.ts";
import { messageOf, UmpathError } from "../base/errors.ts";
import type { Geometry } from "../block/device.ts";
import { UBLK_ANY_DEVICE, UBLK_QUEUE_DEPTH_MAX, UBLK_QUEUES_MAX, UblkFeature } from "../protocol/ublk.ts";
import { stepError } from "./control_error.ts";
import {
  commandStep,
  CONTROL_DEADLINES_MS,
  type ControlSequence,
  type ControlStep,
  deviceStep,
} from "./control_step.ts";
import { UblkDevice } from "./device.ts";
import { decodeDeviceInfo, encodeDeviceInfo } from "./device_info.ts";
import { probeFeatures } from "./features.ts";
import { encodeParameters, ParameterError } from "./parameters.ts";
import { undoDevice } from "./retire_device.ts";

/** Features that the base mode uses where the driver has them. User recovery and zero copy are not among them yet. */
const FEATURES_WANTED = UblkFeature.CMD_IOCTL_ENCODE | UblkFeature.SAFE_STOP_DEV | UblkFeature.UPDATE_SIZE;

/** udev may have the node open for a moment, or not have made it yet: two seconds in all. */
const OPEN_ATTEMPTS_MAX = 40;
const OPEN_RETRIED = [ENOENT, ENODEV, EBUSY, EACCES];

const A_NEW_DEVICE = "a ublk device";

/** What device is to be made. */
export interface CreateOptions {
  geometry: Geometry;
  /** Hardware queues, 1 to 4096: the driver makes no more than the host has CPUs. */
  queues: number;
  /** Tags of each queue, 1 to 4096. */
  depth: number;
  /** Largest I/O in bytes: what the buffer of a tag holds. */
  maxIoBytes: number;
  /** This process. */
  pid: number;
  /** Tells the devices of this process apart. */
  serial?: number;
  /** N of `/dev/ublkbN`; the driver picks a free one unless told. */
  devId?: number;
  /** Bits of `UblkFeature` to ask for; those that the driver does not offer are left out. */
  features?: bigint;
  /** Page size of the host in bytes; 4096 unless told. */
  pageBytes?: number;
  /** Asked before each step: an error here ends the sequence, after what was made is undone. */
  cancelled?: () => UmpathError | null;
}

/**
 * Makes a kernel block device and starts it: GET_FEATURES, ADD_DEV, SET_PARAMS, open `/dev/ublkcN`, start the queues,
 * START_DEV, wait for `/dev/ublkbN`. Whatever fails, what was made before is undone in the reverse order, and the
 * failure is thrown as `UmpathError`.
 */
export function* createDevice(options: CreateOptions): ControlSequence<UblkDevice> {
  assert(options.queues > 0 && options.queues <= UBLK_QUEUES_MAX, "A ublk device has 1 to 4096 queues");
  assert(options.depth > 0 && options.depth <= UBLK_QUEUE_DEPTH_MAX, "A ublk queue has 1 to 4096 tags");
  assert(options.pid > 0, "A ublk device has a server");
  parameters(options, options.maxIoBytes);
  const offered = yield* probeFeatures(A_NEW_DEVICE);
  checkCancelled(options);
  const device = yield* addDevice(options, offered);
  try {
    yield* bringUp(device, options);
    return device;
  } catch (thrown) {
    const failures = yield* undoDevice(device);
    throw withFailures(thrown, failures);
  }
}

/** ADD_DEV. The driver may give less than what was asked: what it gives counts. */
function* addDevice(options: CreateOptions, offered: bigint | null): ControlSequence<UblkDevice> {
  const ioctlEncode = offered !== null;
  const features = (options.features ?? FEATURES_WANTED) & (offered ?? 0n);
  const { queues, depth, maxIoBytes, pid, serial = 0, devId = UBLK_ANY_DEVICE } = options;
  const buffer = encodeDeviceInfo({ devId, queues, depth, maxIoBytes, features, pid, serial });
  const label = devId === UBLK_ANY_DEVICE ? A_NEW_DEVICE : `/dev/ublkb${devId}`;
  yield* run(commandStep("ADD_DEV", { ioctlEncode, devId, buffer, deadlineMs: CONTROL_DEADLINES_MS.add }), label);
  return new UblkDevice(decodeDeviceInfo(buffer), { ioctlEncode });
}

function* bringUp(device: UblkDevice, options: CreateOptions): ControlSequence<void> {
  checkShape(device, options);
  checkCancelled(options);
  yield* run(
    deviceStep("SET_PARAMS", device, { buffer: parameters(options, device.maxIoBytes) }),
    device.blockPath,
  );
  device.transition("configured");
  checkCancelled(options);
  device.charFd = yield* openCharDevice(device);
  device.transition("opened");
  checkCancelled(options);
  device.transition("fetching");
  yield* run({ kind: "start-queues", device, deadlineMs: CONTROL_DEADLINES_MS.start }, device.blockPath);
  checkCancelled(options);
  yield* run(startStep(device, options), device.blockPath);
  device.transition("live");
  yield* run(
    { kind: "wait-node", path: device.blockPath, deadlineMs: CONTROL_DEADLINES_MS.node },
    device.blockPath,
  );
  checkCancelled(options);
}

function startStep(device: UblkDevice, options: CreateOptions): ControlStep {
  const deadlineMs = CONTROL_DEADLINES_MS.start;
  return deviceStep("START_DEV", device, { data0: BigInt(options.pid), deadlineMs });
}

/** The node appears some time after ADD_DEV, and udev may open it first; a second opener gets EBUSY. */
function* openCharDevice(device: UblkDevice): ControlSequence<number> {
  const path = device.charPath;
  yield* run({ kind: "wait-node", path, deadlineMs: CONTROL_DEADLINES_MS.node }, path);
  const open: ControlStep = { kind: "open-char-device", path, deadlineMs: CONTROL_DEADLINES_MS.quick };
  for (let attempt = 1;; attempt++) {
    const { result } = yield open;
    if (result >= 0) return result;
    if (attempt === OPEN_ATTEMPTS_MAX || !OPEN_RETRIED.includes(-result)) throw stepError(open, result, path);
    yield { kind: "pause", deadlineMs: CONTROL_DEADLINES_MS.openRetry };
  }
}

/** One step that must go well. */
function* run(step: ControlStep, label: string): ControlSequence<void> {
  const { result } = yield step;
  if (result < 0) throw stepError(step, result, label);
}

function checkCancelled(options: CreateOptions): void {
  const error = options.cancelled?.() ?? null;
  if (error !== null) throw error;
}

/** A driver that gives more than it was asked for would hand over tags and bytes that have no buffer. */
function checkShape(device: UblkDevice, options: CreateOptions): void {
  const { queues, depth, maxIoBytes } = device;
  const within = (given: number, asked: number) => given > 0 && given <= asked;
  if (within(queues, options.queues) && within(depth, options.depth) && within(maxIoBytes, options.maxIoBytes)) return;
  throw new UmpathError(
    "host-lacks",
    `Cannot use ${device.blockPath}: the ublk driver made ${queues} queues of depth ${depth} for I/O of ${maxIoBytes} bytes`,
  );
}

function parameters(options: CreateOptions, maxIoBytes: number): Uint8Array<ArrayBuffer> {
  const pageBytes = options.pageBytes ?? 4096;
  try {
    return encodeParameters(options.geometry, { maxIoBytes, pageBytes });
  } catch (cause) {
    if (cause instanceof ParameterError) throw new UmpathError("refused", cause.message, { cause });
    throw cause;
  }
}

/** What was thrown, and in its message what else failed while it was undone. */
function withFailures(thrown: unknown, failures: UmpathError[]): UmpathError {
  const error = UmpathError.from(thrown);
  if (failures.length === 0) return error;
  const message = [error, ...failures].map(messageOf).join("; and then: ");
  return new UmpathError(error.code, message, { hint: error.hint ?? failures[0].hint, cause: thrown });
}
