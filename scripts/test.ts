/**
 * Runs the tests in rings, from the quickest to the most real, and closes with one line of sums.
 *
 * Usage: deno task test [--long] [--allow-skips] [RING…] [-- ARGS-OF-DENO-TEST…]. A ring is one of the names below; "vm"
 * stands for all kernels, "long" for what takes long, which is only run if it is named or with --long.
 *
 * Exit codes: 0 all passed; 1 a test failed, or none ran; 2 wrong words; 3 a ring was skipped, and --allow-skips not given.
 */
import { InterruptedError, type Ring, type RingResult, runRing, Tasks } from "./test_ring.ts";
import { exitCode, formatCounts, sumCounts } from "./test_summary.ts";

const RINGS: Ring[] = [
  { name: "unit", needs: "lib", folder: "tests/unit", files: /_test\.ts$/, timeoutS: 900 },
  { name: "sim", needs: "lib", folder: "tests/sim", files: /_test\.ts$/, timeoutS: 600 },
  { name: "e2e", needs: "build", folder: "tests/e2e", files: /_test\.ts$/, timeoutS: 1800 },
  { name: "vm-6.12", needs: "build", folder: "tests/vm", files: /_test\.ts$/, kernel: "6.12", timeoutS: 2400 },
  {
    name: "vm-7",
    needs: "build",
    folder: "tests/vm",
    // The whole road in short, and what depends on the kernel's ublk driver; paths and peers are the same everywhere.
    files: /(^|\/)(harness|.*_smoke|detach|daemon|demo|resize|ublk)_test\.ts$/,
    kernel: "7",
    timeoutS: 1200,
  },
  { name: "long-mutants", needs: "lib", folder: "tests/mutants", files: /_test\.ts$/, timeoutS: 3600, isLong: true },
  {
    name: "long-sim",
    needs: "lib",
    folder: "tests/sim",
    files: /_test\.ts$/,
    env: { UMPATH_SEEDS: "20000", UMPATH_SEED: String(Math.floor(Math.random() * 2 ** 30)) },
    timeoutS: 7200,
    isLong: true,
  },
  {
    name: "long-fuzz",
    needs: "lib",
    folder: "tests/unit/fuzz",
    files: /_test\.ts$/,
    env: { UMPATH_CASES: "20000" },
    timeoutS: 3600,
    isLong: true,
  },
];

/** Options before the names of rings. */
const OPTIONS = ["--long", "--allow-skips"] as const;

/** The rings that the words name; without words all but the long ones. */
function selectRings(words: string[], withLong: boolean): Ring[] {
  const unknown = words.filter((word) => !RINGS.some((ring) => isNamed(ring, word)));
  if (unknown.length > 0) {
    const names = RINGS.map((ring) => ring.name).join(", ");
    console.error(
      `test: Unknown ring "${
        unknown.join('", "')
      }": choose from ${names}, or "vm" for all kernels, "long" for all long ones`,
    );
    Deno.exit(2);
  }
  return RINGS.filter((ring) => {
    if (ring.isLong && withLong) return true;
    return words.length === 0 ? !ring.isLong : words.some((word) => isNamed(ring, word));
  });
}

function isNamed(ring: Ring, word: string): boolean {
  return ring.name === word || ring.name.split("-")[0] === word;
}

function printResults(results: RingResult[]): void {
  console.log("");
  for (const { name, counts, seconds, remarks } of results) {
    const verdict = counts.failed > 0 ? "FAILED" : counts.passed > 0 ? "ok" : "skipped";
    console.log(`${name.padEnd(12)} ${verdict.padEnd(8)} ${formatCounts(counts)} (${seconds.toFixed(1)} s)`);
    for (const remark of remarks) console.log(`  ${remark}`);
  }
}

async function main(): Promise<number> {
  const split = Deno.args.indexOf("--");
  const given = split < 0 ? Deno.args : Deno.args.slice(0, split);
  const [withLong, allowSkips] = OPTIONS.map((option) => given.includes(option)) as [boolean, boolean];
  const words = given.filter((word) => !(OPTIONS as readonly string[]).includes(word));
  const testArgs = split < 0 ? [] : Deno.args.slice(split + 1);
  const tasks = new Tasks();
  const results: RingResult[] = [];
  for (const ring of selectRings(words, withLong)) {
    console.log(`== ${ring.name}`);
    results.push(await runRing(ring, tasks, testArgs));
  }
  printResults(results);
  const sum = sumCounts(results.map((result) => result.counts));
  console.log(formatCounts(sum));
  return exitCode(results.map((result) => result.counts), { allowSkips });
}

try {
  Deno.exit(await main());
} catch (error) {
  if (!(error instanceof InterruptedError)) throw error;
  console.error(`test: ${error.message}`);
  Deno.exit(error.signal === "SIGINT" ? 130 : 143);
}
