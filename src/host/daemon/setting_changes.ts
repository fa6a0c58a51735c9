/** What a change of settings has changed, in the words of `umpath set`. */
import { formatDuration } from "../../base/units.ts";
import type { SettingChange, VolumeInfo } from "../../rpc/host_api.ts";
import { TIMEOUT_WORDS, type Timeouts } from "../../settings/timeouts.ts";
import { pathWords } from "../../rpc/path_words.ts";

/** Every setting that is another one now. */
export function settingChanges(before: VolumeInfo, after: VolumeInfo): SettingChange[] {
  const now = new Map(settings(after));
  return settings(before).flatMap(([key, from]) => {
    const to = now.get(key);
    return to === undefined || to === from ? [] : [{ key, from, to }];
  });
}

/** `no-path-timeout 1m → 6s`. */
export function changeWords({ key, from, to }: SettingChange): string {
  return `${key} ${from} → ${to}`;
}

function settings(volume: VolumeInfo): [key: string, value: string][] {
  const preferred = volume.paths.find(({ id }) => id === volume.preferredPath);
  return [
    ["policy", volume.policy],
    ["failback", volume.failback],
    ["preferred-path", preferred === undefined ? "none" : pathWords(preferred)],
    ["slow-path", volume.slowPath],
    ["hedge-reads", volume.hedgeReads],
    ...volume.paths.map((path): [string, string] => [`weight.${pathWords(path)}`, `${path.weight}`]),
    ...(Object.keys(TIMEOUT_WORDS) as (keyof Timeouts)[]).map((key): [string, string] => {
      const auto = key === "writeHoldMs" && volume.writeHoldAuto ? " (auto)" : "";
      return [TIMEOUT_WORDS[key], formatDuration(volume.timeouts[key]) + auto];
    }),
  ];
}
