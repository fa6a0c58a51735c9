import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  EOPNOTSUPP,
  EPERM,
  errnoWords,
  ETIMEDOUT,
} from "../base/errno.ts";
import { type ErrorCode, UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import type { ControlStep } from "./control_step.ts";

/** What an errno means for people: the kind of failure, why, and what to do. */
type Meaning = readonly [code: ErrorCode, words: string, hint?: string];
type Meanings = Readonly<Record<number, Meaning>>;

const RUN_AS_ROOT = "Run umpath as root: ublk needs CAP_SYS_ADMIN";
const LOAD_DRIVER = "Load the driver with: modprobe ublk_drv (Linux 6.1 or later)";
const SEE_DRIVER = "See what the kernel says: dmesg, and ps -eo pid,stat,wchan:32,comm for processes in state D";
const SEE_QUEUES = "See the daemon's log for its data-plane threads, top -H for what keeps them, and dmesg for ublk";
const SEE_PATHS = "See umpath show and the daemon's log for the volume's paths, and dmesg for ublk";

/** What an errno means whatever step it ended. */
const ANY: Meanings = {
  [EPERM]: ["host-lacks", "this process has no right to", RUN_AS_ROOT],
  [EACCES]: ["host-lacks", "this process has no right to", RUN_AS_ROOT],
  [ENODEV]: ["not-found", "the ublk driver has no such device"],
  [ENOMEM]: ["host-lacks", "the kernel is out of memory", "Use fewer or shallower queues"],
  [EOPNOTSUPP]: ["host-lacks", "the ublk driver of this kernel does not know the command"],
};

const NO_DRIVER: Meaning = ["host-lacks", "this host has no ublk driver", LOAD_DRIVER];
const NO_NODE: Meaning = ["timed-out", "the device node does not appear", "See that devtmpfs or udev serves /dev"];
const STILL_OPEN = "Close what uses it: findmnt, lsblk and fuser say what that is";

/** What an errno means at one step; steps of kind "command" by the command's name. */
const AT: Readonly<Record<string, Meanings>> = {
  "open-control": { [ENOENT]: NO_DRIVER, [ENODEV]: NO_DRIVER },
  ADD_DEV: {
    [EINVAL]: [
      "host-lacks",
      "the ublk driver does not support a device with these parameters",
      "Use fewer or shallower queues",
    ],
    [EACCES]: [
      "host-lacks",
      "the ublk driver has as many devices as it may have",
      "Remove devices, or raise /sys/module/ublk_drv/parameters/ublks_max",
    ],
    [EEXIST]: ["in-use", "another device has that number"],
    [EBUSY]: ["in-use", "another device has that number"],
    [ENOSPC]: ["in-use", "no device number is free"],
  },
  SET_PARAMS: { [EINVAL]: ["bug", "the ublk driver refuses the parameters of the device"] },
  "wait-node": { [ENOENT]: NO_NODE, [ETIMEDOUT]: NO_NODE },
  "open-char-device": {
    [ENOENT]: NO_NODE,
    [EBUSY]: ["in-use", "another process has its character device open"],
  },
  "start-queues": { [ETIMEDOUT]: ["timed-out", "its queues do not come up in time", SEE_QUEUES] },
  START_DEV: {
    [EINVAL]: [
      "host-lacks",
      "the ublk driver does not take this process for the device's server",
      "Linux 6.17 refuses ublk servers in a pid namespace: run umpath outside the container, or use another kernel",
    ],
    [EEXIST]: ["in-use", "it is started already"],
    [ETIMEDOUT]: ["timed-out", "the queues or the partition scan took too long", SEE_PATHS],
  },
  TRY_STOP_DEV: { [EBUSY]: ["in-use", "it is open", STILL_OPEN] },
  STOP_DEV: { [ETIMEDOUT]: ["timed-out", "I/O is still in flight", "Bring a path back, or let no-path-timeout pass"] },
  "drain-queues": { [ETIMEDOUT]: ["timed-out", "its queues still have commands in the kernel"] },
  DEL_DEV: { [ETIMEDOUT]: ["timed-out", "it is still open", STILL_OPEN] },
};

/** What a step does, as in "Cannot start /dev/ublkb0". */
const ACTIONS: Readonly<Record<string, string>> = {
  "open-control": "make",
  GET_FEATURES: "ask what the ublk driver can do for",
  ADD_DEV: "add",
  SET_PARAMS: "configure",
  "wait-node": "find",
  "open-char-device": "open",
  "start-queues": "serve",
  START_DEV: "start",
  UPDATE_SIZE: "resize",
  TRY_STOP_DEV: "stop",
  STOP_DEV: "stop",
  "drain-queues": "drain",
  "close-char-device": "close",
  DEL_DEV: "delete",
  DEL_DEV_ASYNC: "delete",
  GET_DEV_INFO: "ask about",
  "server-runs": "find the server of",
};

/** A step that ended with `-errno`, as an error for people; `device` is how people call the device. */
export function stepError(step: ControlStep, errno: number, device: string): UmpathError {
  const number = Math.abs(errno);
  const [code, words, hint] = AT[nameOf(step)]?.[number] ?? ANY[number] ?? unnamed(step, number);
  return new UmpathError(code, `Cannot ${stepWords(step, device)}: ${words}`, { hint });
}

/** What a step does, as in "start /dev/ublkb0". */
export function stepWords(step: ControlStep, device: string): string {
  return `${ACTIONS[nameOf(step)] ?? "work on"} ${device}`;
}

function nameOf(step: ControlStep): string {
  return step.kind === "command" ? step.name : step.kind;
}

function unnamed({ deadlineMs }: ControlStep, errno: number): Meaning {
  if (errno !== ETIMEDOUT) return ["host-lacks", errnoWords(errno)];
  return ["timed-out", `the ublk driver did not answer within ${formatDuration(deadlineMs)}`, SEE_DRIVER];
}
