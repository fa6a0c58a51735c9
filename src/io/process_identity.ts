import { hostCall } from "../base/errors.ts";

/** A process by its number and its start: a number alone is given to others later. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks from the boot to its start (proc(5): stat, field 22); null where only the number is known. */
  start: string | null;
}

/** Fields of /proc/PID/stat behind the name, which may contain anything. */
const STATE = 0;
const START = 19;

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return {
    pid: Deno.pid,
    start: fieldsOf(hostCall("Cannot read /proc", () => Deno.readTextFileSync("/proc/self/stat")))[START] ?? null,
  };
}

/** True while that very process runs. */
export async function processRuns({ pid, start }: ProcessIdentity): Promise<boolean> {
  try {
    const fields = fieldsOf(await Deno.readTextFile(`/proc/${pid}/stat`));
    const hasEnded = fields[STATE] === "Z" || fields[STATE] === "X";
    return !hasEnded && (start === null || fields[START] === start);
  } catch {
    return false;
  }
}

function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).trim().split(" ");
}
