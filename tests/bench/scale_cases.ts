/** What a number of volumes over four paths costs, by name: `scale-64` is that of 64 volumes. */

/** Portals of the target, each a path of every volume. */
export const SCALE_PATHS = 4;

/** Numbers of volumes that are measured unless others are named. */
export const SCALE_CASES = ["scale-1", "scale-8", "scale-64"] as const;

/** Kinds of kernel devices that the volumes have. */
export const SCALE_SUBJECTS = ["none", "loop"] as const;

/** The number of volumes of a case. */
export function volumesOf(name: string): number {
  return Number(name.slice(name.indexOf("-") + 1));
}
