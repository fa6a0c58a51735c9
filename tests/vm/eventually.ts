/** Waiting for what another process or the kernel does in its own time. */

/** Waits until a function gives a truthy value without throwing, and returns it. */
export async function eventually<T>(
  fn: () => T | Promise<T>,
  timeoutMs: number,
  intervalMs = 100,
): Promise<NonNullable<T>> {
  const end = performance.now() + timeoutMs;
  let reason: unknown = "it stayed false";
  do {
    try {
      const value = await fn();
      if (value) return value;
    } catch (error) {
      reason = error;
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  } while (performance.now() < end);
  const words = reason instanceof Error ? reason.message : String(reason);
  throw new Error(`Condition not met within ${timeoutMs} ms: ${words}`, { cause: reason });
}
