import type { AttachParams, VolumeChanges } from "../../rpc/host_api.ts";
import type { AttachedVolume } from "../driver/attached_volume.ts";
import { formatHedge } from "../../settings/latency_settings.ts";
import { isSamePath } from "../../rpc/path_words.ts";

/**
 * What attaches a volume once more as it is, over its paths and those of `params`, which asked for it: all that somebody
 * has named or changed stays. Only what it takes to connect comes from `params`.
 */
export function paramsOfVolume(volume: AttachedVolume, params: AttachParams): AttachParams {
  const { plan, paths, failback } = volume;
  const { policy, slowPath, hedgeReads, timeouts } = volume.settings.named;
  const used = paths.all.filter((path) => path.state !== "disabled").map((path) => path.spec);
  return {
    ...params,
    ...{ name: plan.name, queues: plan.queues, depth: plan.depth, readOnly: plan.readOnly, timeouts },
    ...{ policy, slowPath, hedgeReads: formatHedge(hedgeReads), failback: failback.mode },
    device: volume.kernelDriver,
    headerDigest: plan.session.digests?.header ?? false,
    dataDigest: plan.session.digests?.data ?? false,
    paths: [...used, ...params.paths],
  };
}

/** Which paths of a volume are preferred, and how much. */
export type PathChoice = Pick<VolumeChanges, "preferredPath" | "weights">;

/** The choice among the paths of a volume as it is, for another volume over the same paths. */
export function pathChoiceOf({ table, paths }: AttachedVolume): PathChoice {
  return {
    preferredPath: paths.all.find((path) => path.index === table.preferred)?.spec ?? null,
    weights: paths.all.map((path) => ({ path: path.spec, weight: table.weight(path.index) })),
  };
}

/** Chooses among the paths of `volume` in the same way, as far as they are there. */
export function choosePaths(volume: AttachedVolume, { preferredPath, weights }: PathChoice): void {
  const isThere = (name: PathChoice["preferredPath"]) =>
    volume.paths.all.some(({ spec }) =>
      typeof name === "object" && name !== null && !("id" in name) && isSamePath(spec, name)
    );
  volume.change({
    policy: null,
    preferredPath: isThere(preferredPath) ? preferredPath : null,
    weights: weights.filter(({ path }) => isThere(path)),
    timeouts: {},
  }, () => {});
}
