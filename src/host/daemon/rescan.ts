/** Looks at a volume's namespace anew over every live path, and says what has changed. */
import { midSentence } from "../../base/text.ts";
import { formatSize } from "../../base/units.ts";
import type { PathInfo, RescannedVolume, VolumeInfo } from "../../rpc/host_api.ts";
import type { AttachedVolume } from "../driver/attached_volume.ts";
import { pathWords } from "../../rpc/path_words.ts";

/** Reads ANA log and namespace anew over all live paths; resolves when the kernel device has what they show. */
export async function rescanVolume(volume: AttachedVolume, warn: (message: string) => void): Promise<RescannedVolume> {
  const before = volume.info();
  const live = volume.paths.all.flatMap((path) => path.session === null ? [] : [{ path, watch: path.session.watch }]);
  if (live.length === 0) warn(`Cannot look at the namespace of ${volume.name} again: none of its paths is connected`);
  await Promise.all(live.map(async ({ path, watch }) => {
    const failure = await watch.lookAnew();
    if (failure === null) return;
    warn(`Cannot look at ${volume.name} again over path "${pathWords(path.spec)}": ${midSentence(failure)}`);
  }));
  await volume.sizeSettled();
  const after = volume.info();
  return { volume: after, changes: changesBetween(before, after) };
}

/** What of a namespace and its paths differs, in words. */
export function changesBetween(before: VolumeInfo, after: VolumeInfo): string[] {
  const changes: string[] = [];
  if (before.sizeBytes !== after.sizeBytes) {
    changes.push(`size ${formatSize(before.sizeBytes)} → ${formatSize(after.sizeBytes)}`);
  }
  if (before.readOnly !== after.readOnly) {
    changes.push(after.readOnly ? "writable → read-only" : "read-only → writable");
  }
  for (const path of after.paths) {
    const known = before.paths.find(({ id }) => id === path.id);
    const [from, to] = [known === undefined ? "" : stateWords(known), stateWords(path)];
    if (known !== undefined && from !== to) changes.push(`path ${path.id} (${pathWords(path)}) ${from} → ${to}`);
  }
  return changes;
}

function stateWords({ state, ana }: PathInfo): string {
  return state === "live" ? ana : state;
}
