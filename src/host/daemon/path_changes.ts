/** Adds paths to a volume that is attached: all that serve it are kept, what is called off is undone. */
import { UmpathError } from "../../base/errors.ts";
import { midSentence } from "../../base/text.ts";
import type { PathSpec } from "../../rpc/host_api.ts";
import type { AttachedVolume } from "../driver/attached_volume.ts";
import type { Errand } from "./errand.ts";
import { isKept, keptWords, leftOutWords, NOT_UP_YET, uniquePaths, worstFailure } from "./path_attempts.ts";
import { reasonOf } from "../driver/path_failure.ts";

/** How paths are added. */
export interface PathChangeOptions {
  errand: Errand;
  warn: (message: string) => void;
  /** Keep a path that cannot be reached: it goes on being tried. */
  force: boolean;
}

/** One path that is to serve the volume: a new one, or one that was disabled or given up. */
interface PathChange {
  spec: PathSpec;
  /** Null once it is live, else why it is not. */
  begin(): Promise<UmpathError | null>;
  undo(): Promise<void>;
}

/**
 * Adds the paths that are missing, and enables those that are disabled. One that is refused or cannot be reached is left
 * as it was before, and named; without any that serves, that is an error.
 *
 * @throws UmpathError why none of them serves, or that the errand is called off.
 */
export async function changePaths(
  volume: AttachedVolume,
  specs: readonly PathSpec[],
  { errand, warn, force }: PathChangeOptions,
): Promise<void> {
  const changes = changesFor(volume, uniquePaths(specs), warn);
  const running = Promise.all(changes.map((change) => change.begin()));
  let failures: (UmpathError | null)[];
  try {
    failures = await errand.unlessOver(running);
  } catch (error) {
    await Promise.all(changes.map((change) => change.undo()));
    throw error;
  }
  const isStaying = (failure: UmpathError | null) => failure === null || (force && isKept(failure));
  await Promise.all(changes.map((change, i) => isStaying(failures[i]!) ? null : change.undo()));
  const leftOut = failures.filter((failure) => !isStaying(failure)) as UmpathError[];
  const isFailed = leftOut.length > 0 && !failures.includes(null);
  failures.forEach((failure, i) => {
    const { spec } = changes[i]!;
    if (failure === null) return;
    if (isStaying(failure)) warn(keptWords(spec, midSentence(reasonOf(failure))));
    else if (!isFailed) warn(leftOutWords(spec, failure));
  });
  if (isFailed) throw withHint(worstFailure(leftOut), leftOut);
}

function changesFor(volume: AttachedVolume, specs: PathSpec[], warn: (message: string) => void): PathChange[] {
  const { paths } = volume;
  const undoAdd = async (spec: PathSpec) => {
    const path = paths.find(spec);
    if (path !== null) await paths.remove(path);
  };
  const undoEnable = async (spec: PathSpec) => {
    const path = paths.find(spec);
    if (path !== null) await paths.disable(path);
  };
  return specs.flatMap((spec) => {
    const path = paths.find(spec);
    if (path === null) return [{ spec, begin: () => paths.add(spec, null), undo: () => undoAdd(spec) }];
    if (path.state === "disabled") return [{ spec, begin: () => paths.enable(path), undo: () => undoEnable(spec) }];
    if (path.state !== "live") warn(keptWords(spec, path.reason ?? NOT_UP_YET));
    return [];
  });
}

/** A path that may come up later is kept on demand. */
function withHint(failure: UmpathError, leftOut: readonly UmpathError[]): UmpathError {
  if (!leftOut.every(isKept)) return failure;
  const hint = "Check the address, or use --force to keep a path that cannot be reached yet";
  return new UmpathError(failure.code, failure.message, { hint, cause: failure });
}
