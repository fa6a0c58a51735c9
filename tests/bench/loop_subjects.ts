/**
 * Who serves a kernel block device from user space without ublk: umpath with its own target, and others that serve memory
 * as a file over FUSE with the loop driver on top.
 */
import { eventually } from "../vm/eventually.ts";
import { run, umpathBinary } from "../vm/process.ts";
import { LoopDevice } from "./loop_device.ts";
import { listenersAt, ServerProcess } from "./server_process.ts";

const READY_MS = 20_000;
const NQN = "nqn.2026-11.io.test:bench";
const HOST_NQN = "nqn.2026-11.io.test:bench-host";
const ADDRESSES = ["127.0.0.1", "127.0.0.2"];

/** A device that is served. */
export interface RunningSubject extends AsyncDisposable {
  readonly device: string;
  /** The processes that serve it; children of theirs count too. */
  readonly pids: number[];
}

export interface LoopSubject {
  readonly name: string;
  /** Programs that it takes, and what brings them. */
  readonly needs: Readonly<Record<string, string>>;
  /** Serves `sizeMiB` of memory; `folder` is its own, and empty. */
  start(folder: string, sizeMiB: number): Promise<RunningSubject>;
}

/** The first one is compared with the others. */
export const LOOP_SUBJECTS: readonly LoopSubject[] = [
  { name: "umpath", needs: {}, start: startUmpath },
  {
    name: "nbdkit + nbdfuse",
    needs: { nbdkit: "apt-get install nbdkit", nbdfuse: "apt-get install libnbd-bin" },
    start: startNbd,
  },
  {
    name: "qemu-storage-daemon",
    needs: { "qemu-storage-daemon": "apt-get install qemu-system-common" },
    start: startQemu,
  },
];

/** Why a subject cannot be measured here, and what to do; null if it can. */
export async function lackOf({ name, needs }: LoopSubject): Promise<string | null> {
  const lacking: string[] = [];
  for (const [program, how] of Object.entries(needs)) {
    const { code } = await run("sh", ["-c", 'command -v "$0" >/dev/null', program]);
    if (code !== 0) lacking.push(`${program} is missing (${how})`);
  }
  return lacking.length === 0 ? null : `${name}: ${lacking.join(", ")}`;
}

/** umpath: memory behind two ports of `umpath serve`, attached over both paths as a loop device. */
async function startUmpath(folder: string, sizeMiB: number): Promise<RunningSubject> {
  await using started = new AsyncDisposableStack();
  const env = { UMPATH_RUN_DIR: `${folder}/run` };
  const listen = ADDRESSES.flatMap((address) => ["--listen", address]);
  const serve = started.use(
    new ServerProcess(umpathBinary(), ["serve", "--ram", `${sizeMiB}M`, "--nqn", NQN, ...listen], env),
  );
  await eventually(() => listenersAt(4420) >= ADDRESSES.length, READY_MS);
  const daemon = started.use(new ServerProcess(umpathBinary(), ["daemon"], env));
  await eventually(() => exists(`${folder}/run/control.sock`), READY_MS);
  const paths = ADDRESSES.flatMap((address) => ["-p", address]);
  const who = ["--hostnqn", HOST_NQN, "--hostid", "6f0dc8b2-58a1-4f46-9a5c-27e5a3f1c001"];
  const attach = await run(umpathBinary(), ["attach", NQN, ...paths, ...who, "--device", "loop"], { env });
  if (attach.code !== 0) throw new Error(`Cannot attach: ${attach.stderr.trim()}`);
  started.defer(async () => {
    await run(umpathBinary(), ["detach", "--all"], { env, check: true });
  });
  return handOver(started, attach.stdout.trim(), [serve.pid, daemon.pid]);
}

/** nbdkit's memory plugin, which nbdfuse shows as a file. */
async function startNbd(folder: string, sizeMiB: number): Promise<RunningSubject> {
  await using started = new AsyncDisposableStack();
  const file = `${folder}/disk`;
  const nbd = started.use(new ServerProcess("nbdfuse", [file, "--command", "nbdkit", "-s", "memory", `${sizeMiB}M`]));
  return await overLoop(started, nbd, file, sizeMiB);
}

/** qemu's FUSE export of a disk that answers at once and keeps nothing: no copy and no lookup, so an upper bound. */
async function startQemu(folder: string, sizeMiB: number): Promise<RunningSubject> {
  await using started = new AsyncDisposableStack();
  const file = `${folder}/disk`;
  await Deno.writeTextFile(file, "");
  const disk = `driver=null-co,node-name=disk,size=${sizeMiB * 2 ** 20},read-zeroes=on`;
  const fuse = `type=fuse,id=fuse,node-name=disk,mountpoint=${file},writable=on`;
  const qemu = started.use(new ServerProcess("qemu-storage-daemon", ["--blockdev", disk, "--export", fuse]));
  return await overLoop(started, qemu, file, sizeMiB);
}

/** Waits for the file that is served and puts a loop device over it. */
async function overLoop(
  started: AsyncDisposableStack,
  server: ServerProcess,
  file: string,
  sizeMiB: number,
): Promise<RunningSubject> {
  await eventually(() => {
    server.check();
    return Deno.statSync(file).size === sizeMiB * 2 ** 20;
  }, READY_MS);
  const loop = started.use(await LoopDevice.bind(file));
  return handOver(started, loop.device, [server.pid]);
}

function handOver(started: AsyncDisposableStack, device: string, pids: number[]): RunningSubject {
  const owned = started.move();
  return { device, pids, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
