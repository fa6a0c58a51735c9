import { UmpathError } from "../../base/errors.ts";
import { listWords } from "../../base/text.ts";
import type { PathName, PathSpec } from "../../rpc/host_api.ts";
import { isSamePath, pathWords } from "../../rpc/path_words.ts";

/** A path of a volume: its number and what it is. */
interface NumberedPath {
  index: number;
  spec: PathSpec;
}

/**
 * The path that is meant by its number, by its specification, or by the portal alone if no other path has that one.
 *
 * @throws UmpathError "not-found", or "usage" if more than one path may be meant.
 */
export function findNamedPath<P extends NumberedPath>(paths: readonly P[], name: PathName, volume: string): P {
  const found = matchesOf(paths, name);
  if (found.length === 1) return found[0]!;
  const words = "id" in name ? `number ${name.id}` : `"${pathWords(name)}"`;
  if (found.length === 0) {
    throw new UmpathError("not-found", `Cannot find path ${words} of ${volume}: it has no such path`, {
      hint: `umpath show ${volume} lists its paths with their numbers`,
    });
  }
  throw new UmpathError("usage", `Cannot tell which path ${words} of ${volume} is meant: ${found.length} lead there`, {
    hint: `Name it by its number: ${listWords(found.map(({ index, spec }) => `${index} is ${pathWords(spec)}`))}`,
  });
}

function matchesOf<P extends NumberedPath>(paths: readonly P[], name: PathName): P[] {
  if ("id" in name) return paths.filter(({ index }) => index === name.id);
  const same = paths.filter(({ spec }) => isSamePath(spec, name));
  if (same.length > 0 || name.hostTraddr !== null || name.hostIface !== null) return same;
  return paths.filter(({ spec }) => spec.traddr === name.traddr && spec.trsvcid === name.trsvcid);
}
