/** What the daemon does about each method of its control socket, and what its log tells of that. */
import { logger } from "../../base/log.ts";
import type { Api, DaemonInfo, DetachParams, LeftInfo, Method } from "../../rpc/host_api.ts";
import type { Handlers, RequestContext } from "../../rpc/server.ts";
import { type LeftDevice, matchesLeft, type Removal } from "../device/left_devices.ts";
import { endWords, failedWords, requestWords } from "./request_words.ts";
import { matchesVolume } from "../../rpc/volume_match.ts";
import type { VolumeSet } from "./volume_set.ts";

const log = logger("request");

/** What is answered from elsewhere. */
export interface DaemonParts {
  volumes: VolumeSet;
  info(): DaemonInfo;
  /** Devices that are left beside the volumes. */
  left(): Promise<LeftInfo[]>;
  /** Takes away what is left, as far as it is meant. */
  removeLeft(options: { isMeant(left: LeftDevice): boolean; force: boolean }): Promise<Removal>;
  /** Called before a volume is attached or detached. */
  onVolumes(context: RequestContext): void;
  /** Called when a volume may have come or gone. */
  onChanged(): void;
}

/** The handlers; each request that changes something is logged with its end, in one line. */
export function daemonHandlers({ volumes, info, left, removeLeft, onVolumes, onChanged }: DaemonParts): Handlers {
  const handlers: Handlers = {
    attach: (params, context) => {
      onVolumes(context);
      return volumes.attach(params, context.warn, context).finally(onChanged);
    },
    detach: async (params, context) => {
      onVolumes(context);
      const { detached, others } = await detachLeft(params, { volumes, removeLeft, warn: context.warn });
      const isDone = params.volumes.length > 0 && others.length === 0;
      const result = isDone
        ? { detached: [] }
        : await volumes.detach({ ...params, volumes: others }, context).finally(onChanged);
      return { ...result, detached: [...detached, ...result.detached], leaving: info().leaving ?? false };
    },
    set: (params, context) => Promise.resolve().then(() => volumes.set(params, context.warn)),
    "path-add": (params, context) => volumes.addPath(params, context.warn, context),
    "path-remove": (params) => volumes.removePath(params),
    "path-disable": (params) => volumes.disablePath(params),
    "path-enable": (params, context) => volumes.enablePath(params, context.warn, context),
    rescan: (params, context) => volumes.rescan(params, context.warn),
    list: async () => {
      await volumes.lookAtDevices();
      const attached = volumes.all.map((volume) => volume.info());
      return { volumes: attached, attaching: volumes.attaching, left: await left() };
    },
    info: () => Promise.resolve(info()),
  };
  const logged = Object.entries(handlers).map(([method, handler]) => {
    return [method, withLog(method as Method, handler as Handlers[Method])];
  });
  return Object.fromEntries(logged) as Handlers;
}

/**
 * Takes away what is left and named, or all of it, and gives the words that name something else: a volume that is
 * attached has the name of one that is left.
 */
async function detachLeft(
  { all, volumes: words, force }: DetachParams,
  { volumes, removeLeft, warn }: Pick<DaemonParts, "volumes" | "removeLeft"> & { warn(message: string): void },
): Promise<{ detached: string[]; others: string[] }> {
  const attached = words.filter((word) => volumes.all.some((volume) => matchesVolume(volume, word)));
  const named = new Set<string>();
  const isMeant = (left: LeftDevice) => {
    const mine = words.filter((word) => !attached.includes(word) && matchesLeft(left, word));
    mine.forEach((word) => named.add(word));
    return all || mine.length > 0;
  };
  const { removed, words: remarks, failures } = await removeLeft({ isMeant, force });
  remarks.forEach(warn);
  if (!all && failures.length > 0) throw failures[0];
  failures.forEach(({ message }) => warn(message));
  return { detached: removed, others: words.filter((word) => !named.has(word)) };
}

function withLog<M extends Method>(method: M, handler: Handlers[M]): Handlers[M] {
  const say = method === "list" || method === "info" ? log.debug : log.info;
  const answer = async (params: Api[M]["params"], context: RequestContext) => {
    // Before: a request changes what it names.
    const words = requestWords(method, params);
    const start = performance.now();
    try {
      const result = await handler(params, context);
      say(`${words}: ${endWords(method, result, performance.now() - start)}`);
      return result;
    } catch (error) {
      log.info(`${words}: ${failedWords(error)}`);
      throw error;
    }
  };
  return answer as Handlers[M];
}
