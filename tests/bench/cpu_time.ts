/** Processor time that this process has used, all its threads together, in microseconds; exact to 10 ms. */
export function cpuTimeUs(): number {
  const fields = Deno.readTextFileSync("/proc/self/stat").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

/** Ticks of /proc are a hundredth of a second on every architecture that Deno runs on. */
const TICK_US = 10_000;
