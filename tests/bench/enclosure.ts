/**
 * Programs in namespaces of their own: network, mounts and processes. When such a program ends, for whatever reason, all
 * that it has started, mounted and listened on is gone.
 */

/**
 * In it: a loopback with a congestion control that is everywhere and the same everywhere, for BBR, the default of some
 * hosts, paces even there. The highest priority keeps what else runs on the host out of the numbers.
 */
const PREPARE =
  'echo -20 >/proc/self/autogroup; ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control=reno && exec nice -n -20 "$@"';
const NAMESPACES = ["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"];

const running = new Set<Deno.ChildProcess>();

/** Runs a program in an enclosure, at most for so long; its output, or an error with what it said. */
export async function runEnclosed(program: string[], { timeoutS }: { timeoutS: number }): Promise<string> {
  const child = new Deno.Command("setsid", {
    args: ["--wait", "unshare", ...NAMESPACES, "sh", "-c", PREPARE, "sh", ...program],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  running.add(child);
  const timer = setTimeout(() => kill(child), timeoutS * 1000);
  try {
    const { success, signal, stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    if (success) return decoder.decode(stdout);
    const how = signal === null ? "" : ` (ended by ${signal}, time limit ${timeoutS} s)`;
    throw new Error(`${program.slice(-4).join(" ")} failed${how}: ${decoder.decode(stderr).trim()}`);
  } finally {
    clearTimeout(timer);
    running.delete(child);
  }
}

/** Ends whatever is enclosed now, and waits until it has ended. */
export async function endEnclosed(): Promise<void> {
  const children = [...running];
  children.forEach(kill);
  await Promise.all(children.map((child) => child.status));
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has just ended.
  }
}
