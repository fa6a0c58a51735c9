/**
 * What the daemon takes over from its caller, and what it does not: its devices are used by the whole host, so limits, a
 * folder or a control group of whoever attached first must not be theirs.
 */
import { native } from "../../../ffi/library.ts";
import { hostCall, UmpathError } from "../../base/errors.ts";
import { tellFilesMax } from "../../base/host_error.ts";
import { logger } from "../../base/log.ts";
import { midSentence, quote } from "../../base/text.ts";

const log = logger("daemon");

/** As the daemons of multipath and iSCSI: to kill it frees little and takes every device with it. */
const OOM_SCORE_ADJ = -900;
/** The runtime, the threads, the run folder and one volume over two paths. */
export const FILES_MIN = 96;
/** Descriptors that volumes do not get: with them clients can be answered when all others are taken. */
const FILES_RESERVED = 32;

const NO_LIMIT = 0xffff_ffff_ffff_ffffn;
/** RLIMIT_… of getrlimit(2). */
const Limit = { CPU: 0, FSIZE: 1, FILES: 7 } as const;

const CGROUP_NAME = "umpath";

/**
 * Makes the process what a daemon is: nothing written for others to read, no limits of a shell, safe from the OOM killer.
 *
 * @throws UmpathError "host-lacks" if a limit is too low to serve anything.
 */
export function standAlone(): FileLimit {
  Deno.umask(0o077);
  hostCall("Cannot leave the folder of the caller", () => Deno.chdir("/"));
  // These end a process that has done no wrong.
  for (const resource of [Limit.CPU, Limit.FSIZE]) raise(resource);
  protectFromOom();
  return FileLimit.take();
}

function limitsOf(resource: number): { soft: bigint; hard: bigint } {
  const limits = new BigUint64Array(2);
  native().um_limit(resource, new Uint8Array(limits.buffer));
  return { soft: limits[0]!, hard: limits[1]! };
}

/** Lifts a limit as far as we may. */
function raise(resource: number): void {
  const { hard } = limitsOf(resource);
  if (native().um_set_limit(resource, NO_LIMIT, NO_LIMIT) < 0) native().um_set_limit(resource, hard, hard);
}

function protectFromOom(): void {
  try {
    Deno.writeTextFileSync("/proc/self/oom_score_adj", `${OOM_SCORE_ADJ}`);
  } catch {
    log.debug("The kernel may kill this process when memory runs out: only root can forbid it");
  }
}

/** How many descriptors the daemon may have. Some are kept back for clients. */
export class FileLimit {
  /** None: Infinity. */
  readonly max: number;
  #isReserveOut = false;

  private constructor(max: number) {
    this.max = max;
  }

  /** @throws UmpathError "host-lacks" if they are too few. */
  static take(): FileLimit {
    const { hard } = limitsOf(Limit.FILES);
    const limit = new FileLimit(hard === NO_LIMIT ? Infinity : Number(hard));
    if (limit.max < FILES_MIN) {
      const why = `open files are limited to ${limit.max}, and at least ${FILES_MIN} are needed`;
      throw new UmpathError("host-lacks", `Cannot run the umpath daemon: ${why}`, {
        hint: "Raise the limit: ulimit -n, or LimitNOFILE= of the service",
      });
    }
    tellFilesMax(limit.max);
    limit.keepReserve();
    return limit;
  }

  /** Lets the reserve be used: a client could not be accepted. False if it is in use already. */
  useReserve(): boolean {
    if (this.#isReserveOut || this.max === Infinity) return false;
    this.#isReserveOut = true;
    this.#set(this.max);
    return true;
  }

  /** Keeps the reserve back again. */
  keepReserve(): void {
    this.#isReserveOut = false;
    if (this.max !== Infinity) this.#set(this.max - FILES_RESERVED);
  }

  #set(soft: number): void {
    native().um_set_limit(Limit.FILES, BigInt(soft), BigInt(this.max));
  }
}

/**
 * Moves the process out of the control group of whoever started it: a service or a session that ends takes all that is
 * in its group with it. Says so if that cannot be done.
 */
export function leaveCgroup(): void {
  const group = /^0::(\/.+)$/m.exec(textOf("/proc/self/cgroup"))?.[1];
  if (group === undefined || group === `/${CGROUP_NAME}`) return;
  const root = cgroupRoot(textOf("/proc/self/mountinfo"));
  try {
    if (root === null) throw new Error("cgroup2 is not mounted");
    const own = `${root}/${CGROUP_NAME}`;
    Deno.mkdirSync(own, { recursive: true });
    Deno.writeTextFileSync(`${own}/cgroup.procs`, `${Deno.pid}`);
  } catch (error) {
    const why = midSentence(UmpathError.from(error).message);
    log.warn(`This daemon ends with the control group ${quote(group)} that it was started in (${why})`);
  }
}

/** Where the whole tree of control groups is mounted, according to /proc/self/mountinfo, or null. */
export function cgroupRoot(mountinfo: string): string | null {
  for (const line of mountinfo.split("\n")) {
    const [, , , root, folder] = line.split(" ");
    if (root === "/" && / - cgroup2 /.test(line)) return folder ?? null;
  }
  return null;
}

function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
