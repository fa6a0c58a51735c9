/** Ticks of /proc are a hundredth of a second on every architecture that Deno runs on. */
const TICK_US = 10_000;

/** Processor time that this process has used, all its threads together, in microseconds; exact to 10 ms. */
export function cpuTimeUs(): number {
  return readStat("self")!.cpuUs;
}

/** Processor time that these processes and their children have used, in microseconds; exact to 10 ms each. */
export function cpuTimeOfUs(pids: readonly number[]): number {
  const stats = [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name)).map(({ name }) =>
    readStat(name)
  );
  const counted = new Set(pids);
  let sum = 0;
  for (let size = -1; size !== counted.size;) {
    size = counted.size;
    for (const stat of stats) if (stat !== null && counted.has(stat.parent)) counted.add(stat.pid);
  }
  for (const stat of stats) if (stat !== null && counted.has(stat.pid)) sum += stat.cpuUs;
  return sum;
}

/** Processor time of those processes that this one has started and that have ended; exact to 10 ms. */
export function childrenCpuUs(): number {
  return readStat("self")!.childrenCpuUs;
}

/** Processor time of the threads that a process has now, in microseconds. */
export function threadsCpuUs(pid: number): number {
  let sumNs = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      sumNs += Number(Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ")[0]);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  return sumNs / 1000;
}

/** Time that the machine's processors were not idle, in microseconds. */
export function machineBusyUs(): number {
  const fields = Deno.readTextFileSync("/proc/stat").split("\n")[0]!.trim().split(/\s+/).slice(1).map(Number);
  const [user, nice, system, , , irq, softirq] = fields as [number, number, number, number, number, number, number];
  return (user + nice + system + irq + softirq) * TICK_US;
}

/** A process as /proc shows it; null if it has ended. */
function readStat(pid: string): { pid: number; parent: number; cpuUs: number; childrenCpuUs: number } | null {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid: parseInt(text),
    parent: Number(fields[1]),
    cpuUs: (Number(fields[11]) + Number(fields[12])) * TICK_US,
    childrenCpuUs: (Number(fields[13]) + Number(fields[14])) * TICK_US,
  };
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || (error as { code?: string }).code === "ESRCH";
}
