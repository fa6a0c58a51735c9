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
  await Deno.writeTextFile("/dev/kmsg", `${mark}\n`, { create: false });
  return mark;
}

/** Lines since the mark that tell of trouble, save those that match `allow`. */
export async function dmesgProblems(sinceMark: string, allow: RegExp[] = []): Promise<string[]> {
  const { stdout } = await run("dmesg", ["--color=never"], { check: true });
  const lines = stdout.split("\n");
  const start = lines.findIndex((line) => line.includes(sinceMark));
  if (start < 0) throw new Error(`Cannot find the mark ${sinceMark} in the kernel log: it has wrapped around`);
  return lines.slice(start + 1).filter((line) =>
    PROBLEMS.some((problem) => problem.test(line)) && !allow.some((allowed) => allowed.test(line))
  );
}
