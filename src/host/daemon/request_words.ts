/** Requests of the control socket and how they end, as the log tells them. */
import { messageOf, UmpathError } from "../../base/errors.ts";
import { listWords, midSentence, quote } from "../../base/text.ts";
import type { Api, AttachParams, DetachParams, Method, PathName, RescanParams, SetParams } from "../../rpc/host_api.ts";
import { pathWords } from "../../rpc/path_words.ts";
import { changeWords } from "./setting_changes.ts";

/** A request that takes so long has its time in the log. */
const LONG_MS = 1_000;

/** What is asked: `attach of NQN nsid 1 over 192.0.2.1:4420`. */
export function requestWords<M extends Method>(method: M, params: Api[M]["params"]): string {
  switch (method) {
    case "attach": {
      const { nqn, nsid, paths } = params as AttachParams;
      return `attach of ${nqn} nsid ${nsid} over ${listWords(paths.map(pathWords))}`;
    }
    case "detach": {
      const { volumes, all, force } = params as DetachParams;
      return `detach of ${all ? "all volumes" : listWords(volumes)}${force ? " by force" : ""}`;
    }
    case "set":
      return `set of ${(params as SetParams).volume}`;
    case "rescan": {
      const { volumes, all } = params as RescanParams;
      return `rescan of ${all ? "all volumes" : listWords(volumes)}`;
    }
    case "path-add":
    case "path-remove":
    case "path-enable":
    case "path-disable": {
      const { volume, path } = params as { volume: string; path: PathName };
      return `${method.replace("-", " ")} ${nameWords(path)} of ${volume}`;
    }
    default:
      return method;
  }
}

/** How it ended: `/dev/ublkb0`, `no-path-timeout 1m → 6s`. */
export function endWords<M extends Method>(method: M, result: Api[M]["result"], tookMs: number): string {
  const took = tookMs < LONG_MS ? "" : ` after ${(tookMs / 1000).toFixed(1)} s`;
  return `${doneWords(method, result)}${took}`;
}

/** How it failed: `refused: …`, or `called off: …`. */
export function failedWords(thrown: unknown): string {
  if (!(thrown instanceof UmpathError)) return messageOf(thrown);
  return thrown.code === "interrupted" ? midSentence(thrown.message) : `${thrown.code}: ${thrown.message}`;
}

function doneWords<M extends Method>(method: M, result: Api[M]["result"]): string {
  switch (method) {
    case "attach": {
      const { volume, device, created } = result as Api["attach"]["result"];
      return created ? device : `${device} (${volume.name} was attached before)`;
    }
    case "detach": {
      const { detached } = result as Api["detach"]["result"];
      return detached.length === 0 ? "nothing was attached" : `${listWords(detached)} detached`;
    }
    case "set": {
      const { changes } = result as Api["set"]["result"];
      return changes.length === 0 ? "no change" : changes.map(changeWords).join(", ");
    }
    case "rescan": {
      const changed = (result as Api["rescan"]["result"]).volumes.filter(({ changes }) => changes.length > 0);
      if (changed.length === 0) return "no change";
      return changed.map(({ volume, changes }) => `${volume.name}: ${listWords(changes)}`).join("; ");
    }
    case "path-add":
    case "path-remove":
    case "path-enable":
    case "path-disable": {
      const { path, changed } = result as Api["path-add"]["result"];
      return changed ? `path ${path.id} (${pathWords(path)})` : `path ${path.id} (${pathWords(path)}), no change`;
    }
    default:
      return "done";
  }
}

function nameWords(path: PathName): string {
  return "id" in path ? `number ${path.id}` : quote(pathWords(path));
}
