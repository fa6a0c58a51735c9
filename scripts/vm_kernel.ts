/** The kernels that scripts/setup unpacked for the test machine. */

/** A kernel ready to boot. */
export interface VmKernel {
  /** The series it was asked for by: "6.12" or "7". */
  series: string;
  /** Its full release, as `uname -r` says. */
  release: string;
  /** Folder with `vmlinuz` and `lib/modules/<release>`. */
  folder: string;
}

/** The cache folder that scripts/setup fills. */
export function devCache(): string {
  const own = Deno.env.get("UMPATH_DEV_CACHE");
  if (own) return own;
  const home = Deno.env.get("HOME") ?? "/root";
  return `${Deno.env.get("XDG_CACHE_HOME") || `${home}/.cache`}/umpath-dev`;
}

/** The kernel of a series, or the reason why there is none. */
export function findKernel(series: string): VmKernel | { missing: string } {
  const folder = `${devCache()}/kernels/${series}`;
  const release = readText(`${folder}/version`);
  if (release) return { series, release, folder };
  const reason = readText(`${folder}.unavailable`);
  return { missing: reason ?? "not set up; run scripts/setup" };
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
