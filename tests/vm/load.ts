/** Verified load on a block device for as long as something else goes on. */
import { eventually } from "./eventually.ts";
import { fio, type FioResult } from "./fio.ts";

const STARTED_MS = 30_000;
/** Lines of fio that are worth reading when it fails. */
const WORDS_LINES = 5;

type FioOptions = Record<string, string | number | true>;

/** Random reads and writes, 4 KiB to 512 KiB, 32 at a time, all of it verified. */
export function mixedLoad(device: string, seed: number): FioOptions {
  return {
    filename: device,
    // Where a device was, fio would make a file and be content with it.
    allow_file_create: 0,
    rw: "randrw",
    bsrange: "4k-512k",
    iodepth: 32,
    size: "48m",
    verify: "crc32c",
    verify_fatal: 1,
    verify_state_save: 0,
    serialize_overlap: 1,
    randseed: seed,
  };
}

/** The same with small blocks, and slow enough that a run lasts about five seconds. */
export function smallLoad(device: string, seed: number): FioOptions {
  return { ...mixedLoad(device, seed), bsrange: "4k-32k", size: "24m", rate: "3m,3m" };
}

/** A seed for this run, printed so that it can be had again. */
export function newSeed(): number {
  const given = Deno.env.get("UMPATH_SEED");
  const seed = given === undefined ? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1 : Number(given);
  console.log(`seed ${seed} (UMPATH_SEED=${seed} repeats it)`);
  return seed;
}

/**
 * Runs fio on the device, again and again, until `during` has ended: it begins once fio writes. Gives the results of
 * all runs, errors and all.
 */
export async function underLoad(
  options: FioOptions,
  during: () => Promise<void>,
  { untilError = false, timeoutMs }: { untilError?: boolean; timeoutMs?: number } = {},
): Promise<FioResult[]> {
  const device = String(options.filename);
  const results: FioResult[] = [];
  let isOver = false;
  const before = writesTo(device);
  const load = (async () => {
    do {
      const result = await fio(options, timeoutMs === undefined ? {} : { timeoutMs });
      results.push(result);
      if (result.code !== 0) break;
    } while (!isOver || untilError);
  })();
  load.catch(() => {});
  try {
    await eventually(() => writesTo(device) > before + 20, STARTED_MS, 20);
    await during();
  } finally {
    isOver = true;
    await load;
  }
  return results;
}

/** What went wrong in these runs, in fio's words; nothing if they all passed. */
export function loadErrors(results: FioResult[]): string[] {
  return results.filter(({ code, jobs }) => code !== 0 || jobs.some((job) => job.error !== 0))
    .map(({ code, jobs, stderr }) => {
      const errors = jobs.map((job) => job.error).join();
      return `exit code ${code}, error ${errors}: ${stderr.split("\n").slice(0, WORDS_LINES).join("\n")}`;
    });
}

/** Write requests that a block device has completed. */
export function writesTo(device: string): number {
  const stat = Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/stat`);
  return Number(stat.trim().split(/\s+/)[4]);
}
