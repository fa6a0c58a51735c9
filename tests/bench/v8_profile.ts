/** V8's own profile of the thread that calls: where its TypeScript spends its time, function by function. */
import { Session } from "node:inspector";

const SAMPLING_INTERVAL_US = 200;
const FUNCTIONS = 12;

interface V8ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
  /** IDs of the nodes of those that it calls. */
  children?: number[];
}

/** A profile as V8 gives it and Chrome's DevTools open it (.cpuprofile). */
export interface V8Profile {
  nodes: V8ProfileNode[];
  /** Node IDs, and the microseconds before each. */
  samples: number[];
  timeDeltas: number[];
}

/** Calls `body` under V8's sampling profiler; its profile. */
export async function profile(body: () => unknown): Promise<V8Profile> {
  const session = new Session();
  session.connect();
  const post = (method: string, params: object = {}) =>
    new Promise<unknown>((resolve, reject) =>
      session.post(method, params, (error, result) => error === null ? resolve(result) : reject(error))
    );
  try {
    await post("Profiler.enable");
    await post("Profiler.setSamplingInterval", { interval: SAMPLING_INTERVAL_US });
    await post("Profiler.start");
    await body();
    return (await post("Profiler.stop") as { profile: V8Profile }).profile;
  } finally {
    session.disconnect();
  }
}

/** Functions with the largest time of their own, without that of those they call: share and place. */
export function largestSelfTimes({ nodes, samples, timeDeltas }: V8Profile): { what: string; share: number }[] {
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node])));
  const names = new Map(nodes.map((node) => [node.id, nameOf(node, parents.get(node.id))]));
  const times = new Map<string, number>();
  let sum = 0;
  samples.forEach((id, i) => {
    const us = Math.max(0, timeDeltas[i]!);
    const name = names.get(id) ?? "(unknown)";
    times.set(name, (times.get(name) ?? 0) + us);
    sum += us;
  });
  return [...times].map(([what, us]) => ({ what, share: us / sum })).toSorted((a, b) => b.share - a.share)
    .slice(0, FUNCTIONS);
}

function nameOf({ callFrame }: V8ProfileNode, parent: V8ProfileNode | undefined): string {
  const { functionName, url, lineNumber } = callFrame;
  // A function of the C library has neither name nor place.
  if (functionName === "" && url === "" && parent !== undefined) return `(C) called by ${nameOf(parent, undefined)}`;
  const name = functionName === "" ? "(anonymous)" : functionName;
  return url === "" ? name : `${name} ${url.replace(/^.*\/(?=(src|ffi|tests)\/)/, "")}:${lineNumber + 1}`;
}
