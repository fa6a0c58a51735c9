/**
 * Runs `work` for each item, at most `atOnce` at a time, in the order of the items. What becomes of each is the promise
 * at its place; one that fails does not keep the others from running.
 */
export function mapLimited<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R>[] {
  const outcomes = items.map(() => Promise.withResolvers<R>());
  let next = 0;
  const runNext = async () => {
    while (next < items.length) {
      const at = next++;
      await work(items[at]!).then(outcomes[at]!.resolve, outcomes[at]!.reject);
    }
  };
  for (let lane = 0; lane < atOnce; lane++) void runNext();
  // Who awaits them in order is late for some: that is no error that nobody handles.
  for (const { promise } of outcomes) promise.catch(() => {});
  return outcomes.map(({ promise }) => promise);
}
