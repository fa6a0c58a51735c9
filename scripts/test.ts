/**
 * Runs the tests in rings, from the quickest to the most real, and closes with one line of sums.
 *
 * Usage: deno task test [RING…] [-- ARGS-OF-DENO-TEST…]. A ring is one of the names below; "vm" stands for all kernels.
 */
import { InterruptedError, type Ring, type RingResult, runRing, Tasks } from "./test_ring.ts";
import { formatCounts, sumCounts } from "./test_summary.ts";

const RINGS: Ring[] = [
  { name: "unit", needs: "lib", folder: "tests/unit", files: /_test\.ts$/, timeoutS: 300 },
  { name: "sim", needs: "lib", folder: "tests/sim", files: /_test\.ts$/, timeoutS: 600 },
  { name: "e2e", needs: "build", folder: "tests/e2e", files: /_test\.ts$/, timeoutS: 1800 },
  { name: "vm-6.12", needs: "build", folder: "tests/vm", files: /_test\.ts$/, kernel: "6.12", timeoutS: 1200 },
  {
    name: "vm-7",
    needs: "build",
    folder: "tests/vm",
    // The whole road in short, and what depends on the kernel's ublk driver; paths and peers are the same everywhere.
    files: /(^|\/)(harness|.*_smoke|detach|daemon|demo|resize|ublk)_test\.ts$/,
    kernel: "7",
    timeoutS: 600,
  },
];

/** The rings that the words name, all without words. */
function selectRings(words: string[]): Ring[] {
  const unknown = words.filter((word) => !RINGS.some((ring) => isNamed(ring, word)));
  if (unknown.length > 0) {
    const names = RINGS.map((ring) => ring.name).join(", ");
    console.error(`test: Unknown ring "${unknown.join('", "')}": choose from ${names}, or "vm" for all kernels`);
    Deno.exit(2);
  }
  return RINGS.filter((ring) => words.length === 0 || words.some((word) => isNamed(ring, word)));
}

function isNamed(ring: Ring, word: string): boolean {
  return ring.name === word || ring.name.split("-")[0] === word;
}

function printResults(results: RingResult[]): void {
  console.log("");
  for (const { name, counts, seconds, remarks } of results) {
    const verdict = counts.failed > 0 ? "FAILED" : counts.passed > 0 ? "ok" : "skipped";
    console.log(`${name.padEnd(8)} ${verdict.padEnd(8)} ${formatCounts(counts)} (${seconds.toFixed(1)} s)`);
    for (const remark of remarks) console.log(`  ${remark}`);
  }
}

async function main(): Promise<number> {
  const split = Deno.args.indexOf("--");
  const words = split < 0 ? Deno.args : Deno.args.slice(0, split);
  const testArgs = split < 0 ? [] : Deno.args.slice(split + 1);
  const tasks = new Tasks();
  const results: RingResult[] = [];
  for (const ring of selectRings(words)) {
    console.log(`== ${ring.name}`);
    results.push(await runRing(ring, tasks, testArgs));
  }
  printResults(results);
  const sum = sumCounts(results.map((result) => result.counts));
  console.log(formatCounts(sum));
  return sum.failed > 0 || sum.passed === 0 ? 1 : 0;
}

try {
  Deno.exit(await main());
} catch (error) {
  if (!(error instanceof InterruptedError)) throw error;
  console.error(`test: ${error.message}`);
  Deno.exit(error.signal === "SIGINT" ? 130 : 143);
}
