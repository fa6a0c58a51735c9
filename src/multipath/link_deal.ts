/** Which workers get a path's links, and which queue helps one that has none. Pure decisions of the control plane. */

/**
 * The queues that a path's `links` go to, when it has fewer than there are queues: those that have the fewest links of the
 * volume's other paths, so that two paths with a link each serve two queues. `counts` are the links of each queue.
 */
export function dealLinks(links: number, counts: readonly number[]): number[] {
  const queues = [...counts.keys()].sort((a, b) => counts[a] - counts[b] || a - b);
  return queues.slice(0, links).sort((a, b) => a - b);
}

/** The helper of each queue: one that has a link of a usable path, for a queue that has none; -1 for all others. */
export function chooseHelpers(serves: readonly boolean[]): number[] {
  const helpers = [...serves.keys()].filter((queue) => serves[queue]);
  let dealt = 0;
  return serves.map((isServing) => isServing || helpers.length === 0 ? -1 : helpers[dealt++ % helpers.length]);
}
