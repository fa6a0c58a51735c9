/** How commands ask the daemon. */
import { UmpathError } from "../base/errors.ts";
import type { Api, LeftInfo, ListResult, Method, VolumeInfo } from "../rpc/host_api.ts";
import { ask, type CallOptions } from "../rpc/client.ts";
import { checkRunDir, runDir } from "../rpc/run_dir.ts";
import { matchesVolume, volumeMeant } from "../rpc/volume_match.ts";
import type { Output } from "./output.ts";

/** A daemon may leave for want of a volume as soon as it has started; one that does so three times has a fault. */
const TRIES_MAX = 3;
const DAEMON_END_MS_MAX = 5000;
const POLL_MS = 20;
/** After so many looks whether its process lives, a daemon that was to leave is asked whether it stays. */
const ASK_LOOKS = 5;

export { ask };

/** What commands wait for that ask the daemon and should be answered at once. */
export const DAEMON_WAIT = "the umpath daemon to answer, at most 10s";

/** Asks the daemon, and starts one if none runs. */
export async function askOrStart<M extends Method>(
  method: M,
  params: Api[M]["params"],
  options: CallOptions & { start(): Promise<void> },
): Promise<Api[M]["result"]> {
  await tellOtherNetwork(options.onWarning);
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    const result = await ask(method, params, options);
    if (result !== null) return result;
    await options.start();
  }
  throw new UmpathError("host-lacks", "The umpath daemon leaves as soon as it has started", {
    hint: `See ${runDir().logPath} for why`,
  });
}

/** Warns when the daemon, which connects, is in another network namespace than this command: it has other addresses. */
export async function tellOtherNetwork(warn?: (message: string) => void): Promise<void> {
  const daemon = await ask("info", {});
  if (daemon === null) return;
  const [ours, theirs] = await Promise.all(["self", daemon.pid].map(networkOf));
  if (ours === null || theirs === null || ours === theirs) return;
  warn?.(
    `The umpath daemon, process ${daemon.pid}, is in another network namespace than this command, and connects there`,
  );
}

/** The network namespace of a process, or null if /proc does not tell. */
function networkOf(pid: number | string): Promise<string | null> {
  return Deno.readLink(`/proc/${pid}/ns/net`).catch(() => null);
}

/** What is attached, on its way, or left; without a daemon, what one that died has left. */
export async function listed(output?: Output): Promise<Required<ListResult>> {
  const onWarning = (message: string) => output?.warn(message);
  const answer = await ask("list", {}, { onWarning });
  return { volumes: [], attaching: [], left: [], ...answer ?? { left: await leftWithoutDaemon() } };
}

/** What a daemon that died has left. */
async function leftWithoutDaemon(): Promise<LeftInfo[]> {
  const dir = runDir();
  if (!checkRunDir(dir)) return [];
  return await (await import("../host/device/left_devices.ts")).listLeft(dir, { besideDaemon: false });
}

/** The volumes that are attached; none if no daemon runs. */
export async function attachedVolumes(): Promise<VolumeInfo[]> {
  return (await listed()).volumes;
}

/** What `work` gives; if it finds no volume of that name, but what is left of one, it says so. */
export async function unlessLeft<T>(word: string, work: Promise<T | null>): Promise<T> {
  try {
    return await work ?? volumeMeant<VolumeInfo>([], word) as never;
  } catch (error) {
    if (!(error instanceof UmpathError) || error.code !== "not-found") throw error;
    const left = (await listed()).left.find((left) => matchesVolume({ ...left, uuid: "" }, word));
    throw left === undefined ? error : isLeft(left);
  }
}

/** Nothing can be changed of a volume that nobody serves any more. */
function isLeft({ name, device, why }: LeftInfo): UmpathError {
  const what = name === "" ? device : name;
  return new UmpathError("not-found", `${what} is not attached any more: ${why}, and ${device} is left`, {
    hint: `Attach the volume again, or take away what is left: umpath detach ${what}`,
  });
}

/** Returns when the daemon, which leaves with its last volume, has left; does not insist. */
export async function awaitDaemonEnd(pid: number): Promise<void> {
  const deadline = Date.now() + DAEMON_END_MS_MAX;
  for (let look = 1; processLives(pid) && Date.now() < deadline; look++) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    // It stays if it is asked for something meanwhile.
    if (look % ASK_LOOKS === 0 && await hasStayed(pid)) return;
  }
}

async function hasStayed(pid: number): Promise<boolean> {
  const info = await ask("info", {}).catch(() => null);
  return info !== null && info.pid === pid && info.leaving !== true;
}

function processLives(pid: number): boolean {
  try {
    const state = /\) (\S)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`))?.[1];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}
