/** The null target of null_target.c: compiled when it has changed, run for as long as a measurement lasts. */
import { runTool } from "../../scripts/build_tool.ts";

const SOURCE = new URL("./null_target.c", import.meta.url).pathname;
const FOLDER = new URL("../../build", import.meta.url).pathname;

/** How the target behaves; see null_target.c. */
export interface NullTargetOptions {
  addresses: string[];
  /** Sleeps while nothing arrives instead of looking for it all the time. */
  sleeps?: boolean;
  /** Congestion control of what it sends. */
  congestion?: string;
}

/** A running null target on port 4420 of its addresses. */
export class NullTarget implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
  }

  /** Compiles the program if need be; its path. */
  static async build(): Promise<string> {
    const program = `${FOLDER}/null_target`;
    const made = await Deno.stat(program).then((stat) => stat.mtime?.getTime() ?? 0, () => 0);
    if (made > (Deno.statSync(SOURCE).mtime?.getTime() ?? Infinity)) return program;
    Deno.mkdirSync(FOLDER, { recursive: true });
    const flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];
    await runTool(Deno.env.get("CC") ?? "cc", [...flags, "-o", program, SOURCE], { debianPackage: "gcc" });
    return program;
  }

  /** Starts it and waits until it listens. */
  static async start(options: NullTargetOptions): Promise<NullTarget> {
    const args = [
      ...(options.sleeps ? ["-s"] : []),
      ...(options.congestion === undefined ? [] : ["-c", options.congestion]),
      ...options.addresses,
    ];
    const child = new Deno.Command(await NullTarget.build(), {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    })
      .spawn();
    const reader = child.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    await child.stdout.cancel();
    if (done) throw new Error("Cannot start the null target: it has ended");
    return new NullTarget(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}
