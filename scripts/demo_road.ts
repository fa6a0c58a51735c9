/**
 * The demo inside the test machine: a storage system of the kernel's with two ports, a volume over both as a block
 * device, a file system on it, and the loss and return of a path under load. Every claim that is printed was checked.
 */
import { dmesgMark, dmesgProblems, eventually, run, type RunResult, umpathBinary } from "../tests/vm/harness.ts";
import { leftovers } from "../tests/vm/leftovers.ts";
import { NvmetTarget } from "../tests/vm/nvmet.ts";
import { Load } from "./demo_load.ts";
import { demand, duration, mebibytes, Story } from "./demo_story.ts";
import { count } from "../src/base/text.ts";
import type { PathInfo, VolumeInfo } from "../src/host/api.ts";
import { call } from "../src/host/control_client.ts";

const NQN = "nqn.2026-11.io.test:vol";
const NAME = "vol-n1";
const UUID = "5a0f6c1e-7d43-4d0a-9d9b-2f6b1c8e4a37";
const PORTS = [{ addr: "127.0.0.1", port: 4420 }, { addr: "127.0.0.2", port: 4420 }];
const LOST = 1;
const SIZE_MIB = 512;
/** What the storage takes for a request, so that there are requests in flight on a path when it goes. */
const ANSWER_MS = 50;
const FOLDER = "/tmp/umpath-demo";
const FILES = 8;
const FILE_BYTES = 2 << 20;
const RUN_DIR = "/run/umpath";

const WAIT_MS_MAX = 100_000;
/** How long the load runs on both paths before one goes, and after it is back. */
const CALM_MS = 2_000;

const story = new Story();
/** The way back: what is undone if the demo ends early, last first. */
const undo: (() => Promise<unknown>)[] = [];

async function umpath(...args: string[]): Promise<RunResult> {
  const result = await run(umpathBinary(), args, { timeoutMs: WAIT_MS_MAX });
  demand(result.code === 0, `umpath ${args.join(" ")} ended with exit code ${result.code}:\n${result.stderr}`);
  return result;
}

/** Runs a command, shows it as it is typed, and gives what it printed on stdout. */
async function show(shown: string, command: string, args: string[]): Promise<string> {
  story.event(`$ ${shown}`);
  return (await run(command, args, { check: true, timeoutMs: WAIT_MS_MAX })).stdout;
}

/** What `umpath show --json` gives, asked without starting a process each time. */
async function volume(): Promise<VolumeInfo> {
  const { volumes } = await call("list", {}) ?? { volumes: [] };
  demand(volumes.length === 1, `umpath has ${volumes.length} volumes and not one`);
  return volumes[0]!;
}

function sum(paths: readonly PathInfo[], of: (path: PathInfo) => number): number {
  return paths.reduce((total, path) => total + of(path), 0);
}

/** What the kernel counts of its block device: requests, and of these the reads with their bytes. */
function kernelCounts(device: string): { requests: number; reads: number; readBytes: number } {
  const stat = Deno.readTextFileSync(device.replace("/dev/", "/sys/block/") + "/stat").trim().split(/\s+/).map(Number);
  return { requests: stat[0]! + stat[4]!, reads: stat[0]!, readBytes: stat[2]! * 512 };
}

// ── the chapters ──────────────────────────────────────────────────────────────────────────────────────────────────────

async function makeTarget(): Promise<NvmetTarget> {
  const attributes = { irqmode: 2, completion_nsec: ANSWER_MS * 1e6 };
  const namespaces = [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096, uuid: UUID, attributes } as const];
  const target = await NvmetTarget.create({ nqn: NQN, ports: PORTS, namespaces });
  undo.push(() => target.close());
  const ports = PORTS.map(({ addr, port }) => `${addr}:${port}`).join(" and ");
  story.event(`A storage system: the kernel's NVMe/TCP target, ${SIZE_MIB} MiB behind ${ports}`);
  story.pause();
  return target;
}

/** Steps 400 to 406. Gives the device. */
async function attach(): Promise<string> {
  const paths = PORTS.flatMap(({ addr }) => ["-p", addr]);
  story.event(`$ umpath attach ${NQN} ${paths.join(" ")}`);
  undo.push(() => run(umpathBinary(), ["detach", "--all", "--force"], { timeoutMs: WAIT_MS_MAX }));
  const { stdout } = await umpath("attach", NQN, ...paths);
  story.event(stdout.trimEnd());
  demand(/^\/dev\/ublkb\d+\n$/.test(stdout), `attach printed ${JSON.stringify(stdout)}`);
  const device = stdout.trim();
  const found = await eventually(async () => {
    const now = await volume();
    return now.paths.every((path) => path.state === "live") ? now : null;
  }, WAIT_MS_MAX);

  demand(found.paths.length === PORTS.length, `the volume has ${found.paths.length} paths`);
  const controllers = found.paths.map((path) => `${path.traddr} (controller ${path.cntlid})`).join(", ");
  story.step("400 discover", `connected to ${controllers}`);
  demand(found.uuid === UUID && found.name === NAME, `the volume is ${found.name} with UUID ${found.uuid}`);
  story.step("402 user-space device", `both lead to namespace ${found.nsid}, UUID ${found.uuid.slice(0, 8)}…: ${NAME}`);
  demand(!await isKnownToKernel(), "the kernel's own initiator has connected the same subsystem");
  story.step("404 identify", "one unique volume, which the kernel's own multipath does not have");
  const devices = ublkDevices();
  demand(`/dev/${devices}` === device, `there are the kernel devices ${devices.join(", ")}`);
  const block = Deno.readTextFileSync(`/sys/block/${devices[0]}/queue/logical_block_size`).trim();
  const sectors = Number(Deno.readTextFileSync(`/sys/block/${devices[0]}/size`));
  demand(sectors * 512 === SIZE_MIB << 20, `${device} has ${sectors} sectors`);
  story.step("406 kernel device", `${device}, ${mebibytes(sectors * 512)} in blocks of ${block} bytes`);
  story.pause();

  story.event("$ umpath list");
  story.detail((await umpath("list")).stdout);
  return device;
}

async function isKnownToKernel(): Promise<boolean> {
  const { stdout } = await run("sh", ["-c", "cat /sys/class/nvme-subsystem/*/subsysnqn 2>/dev/null || true"]);
  return stdout.split("\n").includes(NQN);
}

function ublkDevices(): string[] {
  return [...Deno.readDirSync("/sys/block")].map((entry) => entry.name).filter((name) => name.startsWith("ublkb"));
}

/** A file system with files in it. Gives the checksums as sha256sum writes them. */
async function fill(device: string): Promise<string> {
  await show(`mkfs.ext4 -q ${device}`, "mkfs.ext4", ["-q", device]);
  await Deno.mkdir(FOLDER, { recursive: true });
  await show(`mount ${device} ${FOLDER}`, "mount", [device, FOLDER]);
  undo.push(() => run("umount", ["-l", FOLDER]));
  for (let file = 0; file < FILES; file++) {
    const bytes = new Uint8Array(FILE_BYTES);
    for (let at = 0; at < FILE_BYTES; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    await Deno.writeFile(`${FOLDER}/file${file}`, bytes);
  }
  await run("sync", ["-f", FOLDER], { check: true });
  const sums = await checksums();
  story.event(`${FILES} files of ${mebibytes(FILE_BYTES)} written and synced; their sha256 noted`);
  return sums;
}

async function checksums(): Promise<string> {
  return (await run("sh", ["-c", `cd ${FOLDER} && sha256sum file*`], { check: true })).stdout;
}

/** Steps 408 to 412. Reads are compared, for zeroing and discarding count as writes in one place and not in the other. */
async function compareCounts(device: string): Promise<void> {
  const kernel = kernelCounts(device);
  const { paths } = await volume();
  const reads = sum(paths, (path) => path.reads);
  const readBytes = sum(paths, (path) => path.readBytes);
  demand(kernel.readBytes === readBytes, `the kernel read ${kernel.readBytes} bytes and the paths ${readBytes}`);
  for (const path of paths) demand(path.reads > 0 && path.writes > 0, `path ${path.id} had no reads or no writes`);
  story.step(
    "408 receive",
    `the kernel has had ${kernel.reads} reads for ${device} by now: ${mebibytes(kernel.readBytes)}`,
  );
  story.step("410 transfer", `they came to the volume: ${mebibytes(readBytes)}, to the byte`);
  const shares = paths.map((path) => `${path.reads} to ${path.traddr}`).join(", ");
  story.step("412 submit", `as ${reads} commands, round-robin: ${shares}`);
  story.pause();
}

/** A path goes and comes back while an application reads and writes. */
async function losePath(device: string, target: NvmetTarget): Promise<void> {
  const load = Load.start(`${FOLDER}/load`);
  undo.push(() => load.abort());
  story.event("An application starts: random reads and writes of 4 KiB on a file, 16 at a time (fio)");
  await usePath(LOST, 100);
  await pause(CALM_MS);

  const lostAt = performance.now();
  await target.removePort(LOST);
  story.event(`The port ${PORTS[LOST]!.addr}:${PORTS[LOST]!.port} goes away`);
  const before = kernelCounts(device).requests;
  const down = await eventually(async () => {
    const now = await volume();
    const path = now.paths[LOST]!;
    return path.state === "reconnecting" && path.queues === 0 ? now : null;
  }, WAIT_MS_MAX);
  story.event(`Path ${LOST} is lost${lossWords(down)}`);
  story.event(`$ umpath show ${NAME}`);
  story.detail((await umpath("show", NAME)).stdout);
  const holdMs = down.timeouts.writeHoldMs ?? 0;
  await pause(lostAt + holdMs + CALM_MS - performance.now());
  const during = kernelCounts(device).requests - before;
  demand(during > 0, "the application stands still while one of two paths is away");
  story.event(`The application has gone on over the other path: ${during} more requests`);

  await target.restorePort(LOST);
  story.event("The port is back");
  await eventually(async () => (await volume()).paths[LOST]!.state === "live", WAIT_MS_MAX);
  story.event(`Path ${LOST} is live again`);
  await usePath(LOST, 100);
  await pause(CALM_MS);
  await endLoad(load, holdMs);
}

/** What was in flight on the path when it went. Now and then all of it is answered before the connections end. */
function lossWords({ paths, held }: VolumeInfo): string {
  const inFlight = paths[LOST]!.failovers;
  if (inFlight === 0) return "; all that was in flight on it had been answered";
  return ` with ${count(inFlight, "request")} in flight; held of these: ${count(held, "write")}`;
}

async function endLoad(load: Load, holdMs: number): Promise<void> {
  const { errors, reads, writes } = await load.end();
  undo.pop();
  demand(errors === 0, `the application saw error ${errors}`);
  const moved = sum((await volume()).paths, (path) => path.failovers);
  const held = holdMs > 0 && moved > 0 ? ` (those in flight on a lost path are held ${duration(holdMs)})` : "";
  story.event(
    `The application ends: ${reads.requests + writes.requests} requests, none failed, ${moved} changed paths`,
  );
  const behind = moved > 0 ? " (reads move at once, but a file system may keep some behind a held write)" : "";
  story.detail(`longest read   ${duration(reads.longestMs)}${behind}`);
  story.detail(`longest write  ${duration(writes.longestMs)}${held}`);
  story.pause();
}

/** Waits until so many more commands have gone over a path. */
async function usePath(index: number, commands: number): Promise<void> {
  const done = (path: PathInfo) => path.reads + path.writes;
  const start = done((await volume()).paths[index]!);
  await eventually(async () => done((await volume()).paths[index]!) >= start + commands, WAIT_MS_MAX);
}

async function verify(device: string, sums: string): Promise<void> {
  await show(`umount ${FOLDER}`, "umount", [FOLDER]);
  undo.pop();
  await run("blockdev", ["--flushbufs", device], { check: true });
  await show(`mount ${device} ${FOLDER}`, "mount", [device, FOLDER]);
  undo.push(() => run("umount", ["-l", FOLDER]));
  demand(await checksums() === sums, "the files have changed");
  story.event(`The sha256 of all ${FILES} files are what they were`);
  await show(`umount ${FOLDER}`, "umount", [FOLDER]);
  undo.pop();
  story.pause();
}

async function detach(): Promise<void> {
  story.event(`$ umpath detach ${NAME}`);
  story.detail((await umpath("detach", NAME)).stderr);
  undo.pop();
  const left = leftovers(null);
  demand(left.length === 0, `something is left behind:\n${left.join("\n")}`);
  demand(!await isThere(`${RUN_DIR}/control.sock`), "the control socket is left behind");
  story.event("No device, process, connection or socket is left");
}

async function isThere(path: string): Promise<boolean> {
  return (await run("test", ["-e", path])).code === 0;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

// ── from start to end ─────────────────────────────────────────────────────────────────────────────────────────────────

async function road(): Promise<void> {
  const mark = await dmesgMark();
  const target = await makeTarget();
  const device = await attach();
  const sums = await fill(device);
  await compareCounts(device);
  await losePath(device, target);
  await verify(device, sums);
  await detach();
  const problems = await dmesgProblems(mark);
  demand(problems.length === 0, `the kernel complained:\n${problems.join("\n")}`);
  await target.close();
  undo.pop();
  story.event("Done: every line above was checked, and the kernel log is clean");
}

async function cleanUp(): Promise<void> {
  for (let step = undo.pop(); step; step = undo.pop()) await step().catch(() => {});
}

async function tellLog(): Promise<void> {
  const log = await Deno.readTextFile(`${RUN_DIR}/daemon.log`).catch(() => "");
  if (log === "") return;
  console.error("demo: the daemon's last words:");
  for (const line of log.trimEnd().split("\n").slice(-15)) console.error(`  ${line}`);
}

let isEnding = false;

/** Ends the demo early, once, with everything taken back. */
async function end(code: number, why: string): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  console.error(`\ndemo: ${why}`);
  if (code === 1) await tellLog();
  await cleanUp();
  Deno.exit(code);
}

Deno.addSignalListener("SIGINT", () => void end(130, "Interrupted; cleaning up"));
Deno.addSignalListener("SIGTERM", () => void end(143, "Told to end; cleaning up"));
try {
  await road();
} catch (error) {
  await end(1, `Not as it should be: ${error instanceof Error ? error.message : error}`);
}
if (!isEnding) Deno.exit(0);
