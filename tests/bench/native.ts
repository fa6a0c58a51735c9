/** Runs native cases, each repetition in a process of its own and in a network namespace of its own. */
import { alternate, type Sample, type Series } from "./measure.ts";
import { NATIVE_CASES } from "./native_cases.ts";
import { NullTarget } from "./null_target.ts";

const SECONDS = 1;
const WARM_UP_SECONDS = 0.5;
const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** The subject that is always measured. */
export const SELF = "umpath";

/**
 * A fresh network namespace with a congestion control that is everywhere and the same everywhere: BBR, the default of
 * some hosts, paces even on loopback. The highest priority keeps what else runs on the host out of the numbers.
 */
const IN_NAMESPACE =
  'echo -20 >/proc/self/autogroup; ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control=reno && exec nice -n -20 "$@"';

/** Which cases to run, how often, and beside which other checkout of the project. */
export interface NativeOptions {
  names: string[];
  reps: number;
  against?: string;
}

/** Measures; with `against` the series of the other checkout stand beside those of this one. */
export async function runNative(options: NativeOptions): Promise<Series[]> {
  const { names, reps, against } = options;
  const subjects = against === undefined ? [SELF] : [SELF, against];
  await NullTarget.build();
  const cases = names.map((name) => ({ name, unit: NATIVE_CASES[name]!.unit }));
  return await alternate(cases, subjects, { reps, measure: (name, subject) => runOnce(name, folderOf(subject)) });
}

function folderOf(subject: string): string {
  return subject === SELF ? REPO : subject;
}

async function runOnce(name: string, folder: string): Promise<Sample> {
  const program = [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    `${folder}/tests/bench/native_cases.ts`,
    name,
    String(SECONDS),
    String(WARM_UP_SECONDS),
  ];
  const { success, stdout, stderr } = await new Deno.Command("setsid", {
    args: ["--wait", "unshare", "--net", "sh", "-c", IN_NAMESPACE, "sh", ...program],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`Cannot measure ${name}: ${new TextDecoder().decode(stderr).trim()}`);
  return JSON.parse(new TextDecoder().decode(stdout)) as Sample;
}
