/** A folder for what is measured, with the loop devices over its files: they do not belong to a namespace. */
import { detachBelow } from "./loop_device.ts";

let folder: string | null = null;

/** Calls `use` with a folder of its own, and takes the folder away with what is bound to files in it. */
export async function withLoopFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  folder = await Deno.makeTempDir({ prefix: "umpath-bench-" });
  try {
    return await use(folder);
  } finally {
    await cleanUpLoop();
  }
}

/** Takes away what an enclosure that was ended could not. */
export async function cleanUpLoop(): Promise<void> {
  const left = folder;
  folder = null;
  if (left === null) return;
  await detachBelow(left);
  await Deno.remove(left, { recursive: true });
}
