/** Options of commands that make a target do wrong on demand. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { faultLines } from "../nvme_target/fault_words.ts";
import { wholeNumber } from "./option_words.ts";

/** Seeds are of 31 bits, so that they read well. */
const SEED_MAX = 2 ** 31 - 1;

/** A parser of seeds. */
export const parseFaultSeed: (word: string) => number = wholeNumber("--fault-seed", { min: 0, max: SEED_MAX });

/** A seed that nobody has chosen. */
export function newFaultSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! & SEED_MAX;
}

/** The faults of a script file, a word each. */
export function readFaultScript(path: string): string[] {
  try {
    return faultLines(Deno.readTextFileSync(path));
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound;
    const why = isMissing ? "there is no such file" : messageOf(error);
    throw new UmpathError(isMissing ? "not-found" : "host-lacks", `Cannot read the faults in ${quote(path)}: ${why}`);
  }
}
