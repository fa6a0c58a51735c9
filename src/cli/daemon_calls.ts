/** How commands ask the daemon. */
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import type { Api, ListResult, Method, VolumeInfo } from "../host/api.ts";
import { ask, type CallOptions } from "../host/control_client.ts";
import { matchesVolume } from "../host/volume_match.ts";
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
  throw new UmpathError("bug", "The umpath daemon leaves as soon as it has started", {
    hint: "See its log for why",
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

/** What is attached or on its way; nothing if no daemon runs. */
export async function listed(output?: Output): Promise<Required<ListResult>> {
  const onWarning = (message: string) => output?.warn(message);
  return { volumes: [], attaching: [], left: [], ...await ask("list", {}, { onWarning }) };
}

/** The volumes that are attached; none if no daemon runs. */
export async function attachedVolumes(): Promise<VolumeInfo[]> {
  return (await listed()).volumes;
}

/** The volume that `word` names. */
export function findVolume(volumes: readonly VolumeInfo[], word: string): VolumeInfo {
  const volume = volumes.find((volume) => matchesVolume(volume, word));
  return volume ?? notAttached(word);
}

/** Ends the command because `word` names nothing that is attached. */
export function notAttached(word: string): never {
  throw new UmpathError("not-found", `No volume ${quote(word)} is attached`, {
    hint: "umpath list shows the attached volumes",
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
