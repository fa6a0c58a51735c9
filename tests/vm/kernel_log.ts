/** The kernel log, read for trouble that nobody asked for. */
import { run } from "./process.ts";

const PROBLEMS = [
  /WARNING:/,
  /BUG:/,
  /\bOops\b/,
  /Call Trace/,
  /blocked for more than \d+ seconds/,
  /hung task/i,
  /general protection fault/,
  /refcount_t:/,
  /rcu.*stall/i,
  /soft lockup/,
  /I\/O error/i,
];

/** Marks the present end of the kernel log; hand the mark to `dmesgProblems()`. */
export async function dmesgMark(): Promise<string> {
  const mark = `umpath-test-mark-${crypto.randomUUID()}`;
  // Level 4, a warning: it is found among those too.
  await Deno.writeTextFile("/dev/kmsg", `<4>${mark}\n`, { create: false });
  return mark;
}

/** Lines since the mark that tell of trouble, save those that match `allow`. */
export async function dmesgProblems(sinceMark: string, allow: RegExp[] = []): Promise<string[]> {
  const lines = await linesSince(sinceMark);
  return lines.filter((line) =>
    PROBLEMS.some((problem) => problem.test(line)) && !allow.some((allowed) => allowed.test(line))
  );
}

/** Lines since the mark that match `about` and that the kernel itself calls a warning or worse. */
export async function dmesgWarnings(sinceMark: string, about: RegExp): Promise<string[]> {
  const lines = await linesSince(sinceMark, ["--level=emerg,alert,crit,err,warn"]);
  return lines.filter((line) => about.test(line));
}

async function linesSince(mark: string, options: string[] = []): Promise<string[]> {
  const { stdout } = await run("dmesg", ["--color=never", ...options], { check: true });
  const lines = stdout.split("\n");
  const start = lines.findIndex((line) => line.includes(mark));
  if (start < 0) throw new Error(`Cannot find the mark ${mark} in the kernel log: it has wrapped around`);
  return lines.slice(start + 1);
}
