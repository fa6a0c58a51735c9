/** The demo's application: fio on a file, with what it felt while a path was away. */
import { Untrue } from "./demo_story.ts";

/** More than the demo takes: the load ends when it is told. */
const RUNTIME_S_MAX = 150;
/** fio's exit code when a signal ended it, as it was asked to. */
const FIO_EXIT_SIGNAL = 128;

/** What one direction of the load did. */
export interface LoadSide {
  requests: number;
  /** The longest request, milliseconds. */
  longestMs: number;
}

/** What the load did from its start to its end. */
export interface LoadResult {
  errors: number;
  reads: LoadSide;
  writes: LoadSide;
}

interface FioSide {
  total_ios: number;
  lat_ns: { max: number };
}

/** Random reads and writes of 4 KiB, 16 at a time, from `start()` to `end()`. */
export class Load {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#output = child.output();
  }

  /** Starts the load on a file, which is made. */
  static start(file: string): Load {
    const words = ["rw=randrw", "bs=4k", "iodepth=16", "size=32m", "direct=1", "ioengine=libaio", "time_based=1"];
    const args = ["--name=load", `--filename=${file}`, `--runtime=${RUNTIME_S_MAX}`, "--output-format=json"];
    return new Load(
      new Deno.Command("fio", {
        args: [...args, ...words.map((word) => `--${word}`)],
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
    );
  }

  /** Ends it and gives what it did; also after it has ended by itself, which only an error makes it do. */
  async end(): Promise<LoadResult> {
    this.#kill("SIGINT");
    const { code, stdout, stderr } = await this.#output;
    const text = new TextDecoder().decode(stdout);
    const start = text.search(/^\{/m);
    if (start < 0 || (code !== 0 && code !== FIO_EXIT_SIGNAL)) {
      throw new Untrue(`the load failed with exit code ${code}: ${new TextDecoder().decode(stderr)}${text}`);
    }
    const [job] = JSON.parse(text.slice(start)).jobs as { error: number; read: FioSide; write: FioSide }[];
    return { errors: job!.error, reads: sideOf(job!.read), writes: sideOf(job!.write) };
  }

  /** Ends it for good. */
  async abort(): Promise<void> {
    this.#kill("SIGKILL");
    await this.#output;
  }

  #kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }
}

function sideOf(side: FioSide): LoadSide {
  return { requests: side.total_ios, longestMs: side.lat_ns.max / 1e6 };
}
