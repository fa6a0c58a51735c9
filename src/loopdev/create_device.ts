import { assert } from "../base/assert.ts";
import { EACCES, EBUSY, ENODEV, ENOENT, ENXIO, EPERM } from "../base/errno.ts";
import { messageOf, UmpathError } from "../base/errors.ts";
import type { Geometry } from "../block/device.ts";
import { LoopFlag } from "../protocol/loop.ts";
import { LoopDevice } from "./device.ts";
import { answerInit } from "./init.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";
import { removeNumber, undoLoopDevice } from "./retire_device.ts";

/** Others look for a free loop device too, and may bind the one that was added here: who is slower takes another. */
const BIND_ATTEMPTS_MAX = 16;

/** How a host says that it lets nobody add devices, or use those that were added: a container has those it was given. */
const NOT_ADDED = [EPERM, EACCES, ENOENT, ENODEV, ENXIO];

/** What a kernel device can have: the loop driver takes no other block sizes. */
const BLOCK_SIZE_MIN = 512;
const BLOCK_SIZE_MAX = 4096;
/** The kernel counts the bytes of a file in a signed 64-bit number. */
const FILE_BYTES_MAX = 2 ** 63;

const A_NEW_DEVICE = "a loop device";

/** What device is to be made. */
export interface CreateLoopOptions {
  geometry: Geometry;
  /** The file to mount over; it is made, and removed with the device. */
  filePath: string;
  /** Largest request in bytes: what the buffer of a slot holds. */
  requestBytes: number;
  /** Requests in flight of all queues together. */
  requestsMax: number;
  /** Page size of the host in bytes. */
  pageBytes: number;
  /** Asked before each step: an error here ends the sequence, after what was made is undone. */
  cancelled?: () => UmpathError | null;
}

/** A loop device, and what is less than it could be, in words. */
export interface MadeLoopDevice {
  device: LoopDevice;
  warnings: string[];
}

/**
 * Makes a loop device over a file that the workers serve through FUSE: open `/dev/fuse`, mount, answer INIT, start the
 * queues, find a free loop device, bind it. Whatever fails, what was made before is undone in the reverse order, and
 * the failure is thrown as `UmpathError`.
 */
export function* createLoopDevice(options: CreateLoopOptions): LoopSequence<MadeLoopDevice> {
  checkGeometry(options.geometry);
  assert(options.requestBytes % options.pageBytes === 0, "A request's buffer is a number of pages");
  const fd = yield* run({ kind: "open-fuse", deadlineMs: LOOP_DEADLINES_MS.quick }, A_NEW_DEVICE);
  const device = new LoopDevice(options.filePath, fd);
  try {
    yield* mount(device, options);
    yield* serve(device, options);
    return { device, warnings: yield* bind(device, options) };
  } catch (thrown) {
    const failures = yield* undoLoopDevice(device);
    throw withFailures(thrown, failures);
  }
}

function* mount(device: LoopDevice, options: CreateLoopOptions): LoopSequence<void> {
  checkCancelled(options);
  const { filePath: path, fuseFd: fd } = device;
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  yield* run({ kind: "make-file", path, deadlineMs }, A_NEW_DEVICE);
  yield* run({ kind: "mount", path, fd, maxRead: options.requestBytes, deadlineMs }, A_NEW_DEVICE);
  device.transition("mounted");
  const step: LoopStep = { kind: "read-request", fd, deadlineMs };
  const { result, data } = yield step;
  if (result < 0 || data === undefined) throw loopStepError(step, result, A_NEW_DEVICE);
  const { requestBytes, requestsMax: maxBackground, pageBytes } = options;
  const { answer, failure } = answerInit(data, { requestBytes, maxBackground, pageBytes });
  if (answer === null) {
    throw new UmpathError("host-lacks", `Cannot use FUSE for ${A_NEW_DEVICE}: ${failure}`, {
      hint: "Linux 6.1 or later is needed",
    });
  }
  yield* run({ kind: "write-answer", fd, answer, deadlineMs }, A_NEW_DEVICE);
}

function* serve(device: LoopDevice, options: CreateLoopOptions): LoopSequence<void> {
  checkCancelled(options);
  device.hasQueues = true;
  yield* run({ kind: "start-queues", device, deadlineMs: LOOP_DEADLINES_MS.start }, A_NEW_DEVICE);
  device.transition("serving");
}

/** Gives warnings. */
function* bind(device: LoopDevice, options: CreateLoopOptions): LoopSequence<string[]> {
  checkCancelled(options);
  const writable = !options.geometry.readOnly;
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  const fd = yield* run({ kind: "open-file", path: device.filePath, writable, deadlineMs }, A_NEW_DEVICE);
  try {
    yield* bindOne(device, fd, options);
  } finally {
    yield { kind: "close-file", fd, deadlineMs };
  }
  checkCancelled(options);
  const { blockPath: path, sequence } = device;
  assert(sequence !== null, "A device that is bound has a sequence number");
  const flags = yield* run({ kind: "loop-flags", path, sequence, deadlineMs }, path);
  if ((flags & LoopFlag.DIRECT_IO) !== 0) return [];
  return [`${device.blockPath} has no direct I/O on this kernel: it is slower, and caches what it reads twice`];
}

/**
 * Binds a loop device of its own, under a number that nobody had: one that is free is offered to everybody who looks for
 * one, and whoever opens it waits for all others that do, and for the I/O of those that bind it. Where none can be added
 * it takes one that is free.
 */
function* bindOne(device: LoopDevice, fd: number, options: CreateLoopOptions): LoopSequence<void> {
  let adds = true;
  for (let attempt = 1;; attempt++) {
    checkCancelled(options);
    const error = yield* tryBind(device, fd, { options, adds });
    if (error === null) return;
    const isTaken = error.errno === EBUSY;
    if (adds && NOT_ADDED.includes(error.errno)) adds = false;
    else if (!isTaken || attempt === BIND_ATTEMPTS_MAX) throw error.failure;
  }
}

/** Why a device could not be bound: the errno, and in words. */
interface BindError {
  errno: number;
  failure: UmpathError;
}

/** One attempt, after which nothing of it is left if it fails. */
function* tryBind(
  device: LoopDevice,
  fd: number,
  { options, adds }: { options: CreateLoopOptions; adds: boolean },
): LoopSequence<BindError | null> {
  const find: LoopStep = { kind: adds ? "add-loop" : "find-loop", deadlineMs: LOOP_DEADLINES_MS.quick };
  const { result: number } = yield find;
  if (number < 0) return bindError(find, number, A_NEW_DEVICE);
  device.number = number;
  device.isAdded = adds;
  let error: BindError | null;
  try {
    error = (yield* findNode(device)) ?? (yield* configure(device, fd, options));
  } catch (thrown) {
    yield* dropNumber(device);
    throw thrown;
  }
  if (error === null) yield* note(device);
  else yield* dropNumber(device);
  return error;
}

function* configure(device: LoopDevice, fd: number, options: CreateLoopOptions): LoopSequence<BindError | null> {
  const { geometry: { blockSize, readOnly } } = options;
  const flags = LoopFlag.DIRECT_IO | LoopFlag.PARTSCAN | (readOnly ? LoopFlag.READ_ONLY : 0);
  const { blockPath: path, filePath: name } = device;
  yield* note(device);
  const deadlineMs = LOOP_DEADLINES_MS.configure;
  const step: LoopStep = { kind: "configure-loop", path, fd, blockSize, flags, name, deadlineMs };
  const { result, sequence } = yield step;
  if (result < 0) return bindError(step, result, path);
  assert(sequence !== undefined, "A device that is bound has a sequence number");
  device.sequence = sequence;
  device.transition("live");
  return null;
}

/** Before it is bound, so that nothing can be left without a note, and once its sequence number is known. */
function* note(device: LoopDevice): LoopSequence<void> {
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  yield* run({ kind: "note-device", device, isDetached: false, deadlineMs }, device.blockPath);
}

/** The loop device is not bound: what was made for it goes, and the number is anybody's. */
function* dropNumber(device: LoopDevice): LoopSequence<void> {
  yield* removeNumber(device);
  device.number = -1;
}

/** The node, which is made where there is neither udev nor devtmpfs. */
function* findNode(device: LoopDevice): LoopSequence<BindError | null> {
  const { blockPath: path, number } = device;
  const wait: LoopStep = { kind: "wait-node", path, deadlineMs: LOOP_DEADLINES_MS.node };
  const { result } = yield wait;
  if (result >= 0) return null;
  if (result !== -ENOENT) return bindError(wait, result, path);
  const make: LoopStep = { kind: "make-node", path, number, deadlineMs: LOOP_DEADLINES_MS.quick };
  const made = yield make;
  if (made.result < 0) return bindError(make, made.result, path);
  device.hasOwnNode = true;
  return null;
}

function bindError(step: LoopStep, result: number, label: string): BindError {
  return { errno: -result, failure: loopStepError(step, result, label) };
}

/** One step that must go well; its result. */
function* run(step: LoopStep, label: string): LoopSequence<number> {
  const { result } = yield step;
  if (result < 0) throw loopStepError(step, result, label);
  return result;
}

function checkCancelled(options: CreateLoopOptions): void {
  const error = options.cancelled?.() ?? null;
  if (error !== null) throw error;
}

/** What a storage system says of a namespace can be anything. */
function checkGeometry({ blockSize, blocks }: Geometry): void {
  const isSize = Number.isInteger(Math.log2(blockSize)) && blockSize >= BLOCK_SIZE_MIN && blockSize <= BLOCK_SIZE_MAX;
  if (!isSize) {
    throw new UmpathError(
      "refused",
      `Cannot make a loop device of ${blockSize}-byte blocks: they are ${BLOCK_SIZE_MIN} to ${BLOCK_SIZE_MAX}, a power of two`,
    );
  }
  if (!Number.isInteger(blocks) || blocks <= 0 || blocks * blockSize >= FILE_BYTES_MAX) {
    throw new UmpathError("refused", `Cannot make a loop device of ${blocks} blocks of ${blockSize} bytes`);
  }
}

/** What was thrown, and in its message what else failed while it was undone. */
function withFailures(thrown: unknown, failures: UmpathError[]): UmpathError {
  const error = UmpathError.from(thrown);
  if (failures.length === 0) return error;
  const message = [error, ...failures].map(messageOf).join("; and then: ");
  return new UmpathError(error.code, message, { hint: error.hint ?? failures[0].hint, cause: thrown });
}
