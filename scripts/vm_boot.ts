/** A boot that fails by accident. */

/** The kernel died before the machine was ready for its command. */
export class KernelDied extends Error {}

/**
 * Boots, and once more if the kernel dies: an emulated one does so at times, while it patches its own code. Nothing of
 * the command has run by then. `tell` hears of the first death.
 */
export async function bootTwiceAtMost<T>(boot: () => Promise<T>, tell: (death: KernelDied) => void): Promise<T> {
  try {
    return await boot();
  } catch (error) {
    if (!(error instanceof KernelDied)) throw error;
    tell(error);
    return await boot();
  }
}

/** Whether these last words on the console are those of a kernel that died. */
export function isDeath(console: string): boolean {
  return /Kernel panic - not syncing/.test(console);
}
