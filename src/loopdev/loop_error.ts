import {
  EACCES,
  EBUSY,
  EINVAL,
  EIO,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENXIO,
  EPERM,
  EROFS,
  errnoWords,
  ESTALE,
  ETIMEDOUT,
} from "../base/errno.ts";
import { type ErrorCode, UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import type { LoopStep } from "./loop_step.ts";

/** What an errno means for people: the kind of failure, why, and what to do. */
type Meaning = readonly [code: ErrorCode, words: string, hint?: string];
type Meanings = Readonly<Record<number, Meaning>>;

const RUN_AS_ROOT = "Run umpath as root: mounting and loop devices need CAP_SYS_ADMIN";
const SEE_PATHS = "See umpath show and the daemon's log for the volume's paths, and dmesg for loop";
const SEE_KERNEL = "See what the kernel says: dmesg, and ps -eo pid,stat,wchan:32,comm for processes in state D";
const NO_FUSE: Meaning = [
  "host-lacks",
  "this host has no FUSE driver",
  "Load it with: modprobe fuse; in a container, pass /dev/fuse on",
];
const NO_LOOP: Meaning = [
  "host-lacks",
  "this host has no loop driver",
  "Load it with: modprobe loop; in a container, pass /dev/loop-control on",
];

/** What an errno means whatever step it ended. */
const ANY: Meanings = {
  [EPERM]: ["host-lacks", "this process has no right to", RUN_AS_ROOT],
  [EACCES]: ["host-lacks", "this process has no right to", RUN_AS_ROOT],
  [ENOMEM]: ["host-lacks", "the kernel is out of memory", "Use fewer or shallower queues"],
  [ESTALE]: ["in-use", "it is another program's by now: ours was unbound before"],
};

/** What an errno of the driver's control device means. */
const NO_NUMBER: Meanings = {
  [ENOENT]: NO_LOOP,
  [ENODEV]: NO_LOOP,
  [ENXIO]: NO_LOOP,
  [ENOSPC]: ["in-use", "no loop device is free"],
};

/** What an errno means at one step. */
const AT: Readonly<Record<string, Meanings>> = {
  "open-fuse": { [ENOENT]: NO_FUSE, [ENODEV]: NO_FUSE, [ENXIO]: NO_FUSE },
  "make-file": {
    [ENOSPC]: ["host-lacks", "the run folder is full"],
    [EROFS]: ["host-lacks", "the run folder is read-only", "Set UMPATH_RUN_DIR to another folder"],
  },
  mount: { [ENODEV]: NO_FUSE },
  "add-loop": NO_NUMBER,
  "find-loop": NO_NUMBER,
  "start-queues": { [ETIMEDOUT]: ["timed-out", "its queues do not come up in time", SEE_PATHS] },
  "open-file": { [ETIMEDOUT]: ["timed-out", "its file is not served", SEE_PATHS] },
  "configure-loop": {
    [EBUSY]: ["in-use", "other programs take every free loop device"],
    [EINVAL]: ["host-lacks", "the loop driver does not support files of this block size with direct I/O"],
    [EIO]: ["unreachable", "its first I/O failed", SEE_PATHS],
    [ETIMEDOUT]: ["timed-out", "the partition scan took too long", SEE_PATHS],
  },
  "make-node": { [EPERM]: ["host-lacks", "this process may not make device nodes", RUN_AS_ROOT] },
  "clear-loop": {
    [ETIMEDOUT]: ["timed-out", "I/O is still in flight", "Bring a path back, or let no-path-timeout pass"],
  },
  "drain-queues": { [ETIMEDOUT]: ["timed-out", "its queues still have requests", SEE_PATHS] },
};

/** What a step does, as in "Cannot bind /dev/loop0". */
const ACTIONS: Readonly<Record<LoopStep["kind"], string>> = {
  "open-fuse": "use FUSE for",
  "make-file": "make the file of",
  mount: "mount the file of",
  "read-request": "begin to serve",
  "write-answer": "begin to serve",
  "start-queues": "serve",
  "open-file": "open the file of",
  "close-file": "close the file of",
  "add-loop": "find a number for",
  "remove-loop": "remove",
  "find-loop": "find a number for",
  "note-device": "note",
  "forget-device": "forget",
  "wait-node": "find",
  "make-node": "make",
  "remove-node": "remove the node of",
  "configure-loop": "bind",
  "loop-flags": "ask about",
  "file-size": "resize",
  "resize-loop": "resize",
  "clear-loop": "unbind",
  "keep-loop": "keep",
  unmount: "unmount the file of",
  "drain-queues": "drain",
  "close-fuse": "close the file system of",
  "remove-file": "remove the file of",
  pause: "wait for",
};

/** A step that ended with `-errno`, as an error for people; `device` is how people call the device. */
export function loopStepError(step: LoopStep, errno: number, device: string): UmpathError {
  const number = Math.abs(errno);
  const [code, words, hint] = AT[step.kind]?.[number] ?? ANY[number] ?? unnamed(step, number);
  return new UmpathError(code, `Cannot ${loopStepWords(step, device)}: ${words}`, { hint });
}

/** What a step does, as in "bind /dev/loop0". */
export function loopStepWords({ kind }: LoopStep, device: string): string {
  return `${ACTIONS[kind]} ${device}`;
}

function unnamed({ deadlineMs }: LoopStep, errno: number): Meaning {
  if (errno !== ETIMEDOUT) return ["host-lacks", errnoWords(errno)];
  return ["timed-out", `the kernel did not answer within ${formatDuration(deadlineMs)}`, SEE_KERNEL];
}
