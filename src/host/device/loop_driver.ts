import { native } from "../../../ffi/library.ts";
import { cString } from "../../../ffi/result.ts";
import { EEXIST, EIO, ENOENT } from "../../base/errno.ts";
import { logger } from "../../base/log.ts";
import { loopStepWords } from "../../loopdev/loop_error.ts";
import type { LoopResult, LoopSequence, LoopStep } from "../../loopdev/loop_step.ts";
import { folderEntries } from "../../io/folder_entries.ts";
import { errnoOf, loadModule, pause, runSequence, timed, waitNode, within } from "../../io/run_sequence.ts";

const log = logger("loop");

/** The driver takes nothing smaller (FUSE_MIN_READ_BUFFER): INIT is a hundred bytes. */
const INIT_BYTES_MAX = 8192;
/** Numbers that are tried where others add loop devices at the same time. */
const NUMBERS_MAX = 64;

/** What the driver cannot do by itself: the queues belong to the workers, the notes to the run folder. */
export interface LoopQueues {
  /** Resolves when every worker listens for requests. */
  start(step: LoopStep & { kind: "start-queues" }): Promise<void>;
  /** Resolves when no worker has anything of the file any more. */
  drain(step: LoopStep & { kind: "drain-queues" }): Promise<void>;
  /** Closes the workers' descriptors. */
  close(): void;
  /** @throws UmpathError if it cannot be noted. */
  note(step: LoopStep & { kind: "note-device" }): void;
  forget(step: LoopStep & { kind: "forget-device" }): void;
}

const NO_QUEUES: LoopQueues = {
  start: () => Promise.reject(new Error("A device that was left has no queues")),
  drain: () => Promise.reject(new Error("A device that was left has no queues")),
  close: () => {},
  note: () => {},
  forget: () => {},
};

/**
 * Carries out a sequence of a loop device. What waits for an answer of the workers, or may write back what is cached,
 * runs on a thread of the runtime's pool; a step that takes longer than its deadline gives -ETIMEDOUT.
 *
 * @throws UmpathError as the sequence does.
 */
export function runLoop<T>(sequence: LoopSequence<T>, queues: LoopQueues = NO_QUEUES): Promise<T> {
  return runSequence(sequence, (step) => {
    const work = carryOut(step, queues);
    return step.kind === "pause" ? work : timed(log, () => loopStepWords(step, deviceOf(step)), work);
  });
}

async function carryOut(step: LoopStep, queues: LoopQueues): Promise<LoopResult> {
  if (step.kind === "read-request") return readRequest(step.fd);
  // The kernel writes it, however late: see "configure-loop".
  const sequence = new BigUint64Array(1);
  const result = await within(resultOf(step, queues, sequence), {
    deadlineMs: step.deadlineMs,
    onSlow: () => step.kind !== "pause" && log.warn(`It takes over 1 s to ${loopStepWords(step, deviceOf(step))}`),
    onLate: (result) => undoLate(step, result, sequence),
  });
  return step.kind === "configure-loop" && result >= 0 ? { result, sequence: String(sequence[0]) } : { result };
}

/** How people call the device that a step is about. */
function deviceOf(step: LoopStep): string {
  if ("path" in step && step.path.startsWith("/dev/")) return step.path;
  return "device" in step && step.device.number >= 0 ? step.device.blockPath : "a loop device";
}

/** Takes back what a step has made that nobody has waited for. */
function undoLate(step: LoopStep, result: number, sequence: BigUint64Array<ArrayBuffer>): void {
  if (result < 0) return;
  const lib = native();
  log.warn(`Late, and undone: ${loopStepWords(step, deviceOf(step))}`);
  const undo = async () => {
    if (step.kind === "open-fuse" || step.kind === "open-file") await lib.um_close_slow(result);
    if (step.kind === "add-loop") await lib.um_loop_remove(result);
    if (step.kind === "mount") await withPath(step.path, (path) => lib.um_fuse_unmount(path, 1));
    if (step.kind !== "configure-loop") return;
    await withPath(step.path, (path) => lib.um_loop_clear(path, sequence[0]!));
  };
  undo().catch((error) => log.error(`Cannot undo: ${loopStepWords(step, deviceOf(step))}`, error));
}

async function resultOf(
  step: LoopStep,
  queues: LoopQueues,
  sequence: BigUint64Array<ArrayBuffer>,
): Promise<number> {
  const lib = native();
  switch (step.kind) {
    case "open-fuse":
      return await openLoading("fuse", () => Promise.resolve(lib.um_fuse_open()));
    case "make-file":
      return await makeFile(step.path);
    case "mount":
      return await withPath(step.path, (path) => lib.um_fuse_mount(step.fd, path, step.maxRead));
    case "write-answer":
      return lib.um_fuse_write(step.fd, step.answer, step.answer.length);
    case "start-queues":
      return await queues.start(step).then(() => 0);
    case "open-file":
      return await withPath(step.path, (path) => lib.um_fuse_open_file(path, step.writable ? 1 : 0));
    case "close-file":
      return await lib.um_close_slow(step.fd);
    case "add-loop":
      return await openLoading("loop", addLoop);
    case "remove-loop":
      return await lib.um_loop_remove(step.number);
    case "find-loop":
      return await openLoading("loop", () => lib.um_loop_free());
    case "note-device":
      queues.note(step);
      return 0;
    case "forget-device":
      queues.forget(step);
      return 0;
    case "wait-node":
      return await waitNode(step.path, step.deadlineMs);
    case "make-node":
      return await makeNode(step.path, step.number);
    case "remove-node":
    case "remove-file":
      return await removeFile(step.path);
    case "configure-loop":
      return await configure(step, sequence);
    case "loop-flags":
      return await withPath(step.path, (path) => lib.um_loop_flags(path, BigInt(step.sequence)));
    case "file-size":
      return await withPath(step.path, (path) => lib.um_fuse_file_bytes(path).then(Number));
    case "resize-loop":
      return await withPath(step.path, (path) => lib.um_loop_resize(path, BigInt(step.sequence)));
    case "clear-loop":
      return await withPath(step.path, (path) => lib.um_loop_clear(path, BigInt(step.sequence)));
    case "keep-loop":
      return await withPath(step.path, (path) => lib.um_loop_keep(path, BigInt(step.sequence)));
    case "unmount":
      return await withPath(step.path, (path) => lib.um_fuse_unmount(path, 1));
    case "drain-queues":
      return await queues.drain(step).then(() => 0);
    case "close-fuse":
      queues.close();
      return await lib.um_close_slow(step.device.fuseFd);
    case "pause":
      await pause(step.deadlineMs);
      return 0;
    case "read-request":
      return -EIO;
  }
}

function readRequest(fd: number): LoopResult {
  const buffer = new Uint8Array(INIT_BYTES_MAX);
  const result = native().um_fuse_read(fd, buffer, buffer.length);
  return result < 0 ? { result } : { result, data: buffer.subarray(0, result) };
}

/** The drivers do not load by themselves everywhere: nothing asks for their devices before they are there. */
async function openLoading(module: string, open: () => Promise<number>): Promise<number> {
  const result = await open();
  return result === -ENOENT && await loadModule(module) ? await open() : result;
}

/** A call off the main thread that gets a path; the text lives as long as the call. */
async function withPath(path: string, call: (path: Uint8Array<ArrayBuffer>) => Promise<number>): Promise<number> {
  const text = cString(path);
  const result = await call(text);
  void text.length;
  return result;
}

async function configure(
  step: LoopStep & { kind: "configure-loop" },
  sequence: BigUint64Array<ArrayBuffer>,
): Promise<number> {
  const name = cString(step.name);
  const { fd, blockSize, flags } = step;
  const call = (path: Uint8Array<ArrayBuffer>) =>
    native().um_loop_configure(path, fd, blockSize, flags, name, new Uint8Array(sequence.buffer));
  const result = await withPath(step.path, call);
  void name.length;
  return result;
}

/** A number that /sys/block does not have: another process may be faster each time. */
async function addLoop(): Promise<number> {
  const used = new Set((await folderEntries("/sys/block")).map(({ name }) => name));
  for (let number = 0, tried = 0; tried < NUMBERS_MAX; number++) {
    if (used.has(`loop${number}`) || await isHidden(`/dev/loop${number}`)) continue;
    tried++;
    const result = await native().um_loop_add(number);
    if (result !== -EEXIST) return result;
  }
  return -EEXIST;
}

/** Something that is no block device has the name of the node, for example a file that was written after a detach. */
async function isHidden(path: string): Promise<boolean> {
  try {
    return !(await Deno.lstat(path)).isBlockDevice;
  } catch {
    return false; // there is nothing of that name, or the node itself will tell
  }
}

async function makeFile(path: string): Promise<number> {
  try {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
    await Deno.writeFile(path, new Uint8Array(0), { mode: 0o600 });
    return 0;
  } catch (error) {
    return -errnoOf(error);
  }
}

async function removeFile(path: string): Promise<number> {
  try {
    await Deno.remove(path);
    return 0;
  } catch (error) {
    return -errnoOf(error);
  }
}

/** The numbers of a device are in sysfs, whatever made the node or did not. */
async function makeNode(path: string, number: number): Promise<number> {
  try {
    const [major, minor] = (await Deno.readTextFile(`/sys/block/loop${number}/dev`)).trim().split(":").map(Number);
    return native().um_loop_make_node(cString(path), major!, minor!);
  } catch (error) {
    return -errnoOf(error);
  }
}
