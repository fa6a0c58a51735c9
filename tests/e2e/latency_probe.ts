/**
 * How long single reads and writes take, by fio, while something else goes on. A verified load cannot tell: fio waits
 * there for overlapping requests, and takes no answers meanwhile.
 */
import type { FioJob } from "../vm/fio.ts";

const RUNTIME_S_MAX = 120;

/** Milliseconds. */
export interface Longest {
  read: number;
  write: number;
}

/** Where on the device, which nobody else may write meanwhile. */
export interface ProbeArea {
  offset: string;
  size: string;
}

/** Four random reads and writes of 4 KiB at a time, until it is ended. */
export class LatencyProbe {
  readonly #process: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;

  constructor(device: string, { offset, size }: ProbeArea) {
    const options: Record<string, string | number> = {
      ...{ name: "probe", filename: device, offset, size, ioengine: "libaio", direct: 1, allow_file_create: 0 },
      ...{ rw: "randrw", bs: "4k", iodepth: 4, norandommap: 1, time_based: 1, runtime: RUNTIME_S_MAX },
    };
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    const command = new Deno.Command("fio", {
      args: ["--output-format=json", ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    this.#process = command.spawn();
    this.#output = this.#process.output();
  }

  /** Ends it; the longest of what it has seen. Fails if any request has failed, or none was made. */
  async end(): Promise<Longest> {
    try {
      this.#process.kill("SIGINT");
    } catch {
      // it has ended: its output tells why
    }
    const { stdout, stderr } = await this.#output;
    const decoder = new TextDecoder();
    const text = decoder.decode(stdout);
    const at = text.search(/^\{/m);
    if (at < 0) throw new Error(`The probe gave no result: ${decoder.decode(stderr)}${text}`);
    const { jobs: [job] } = JSON.parse(text.slice(at)) as { jobs: FioJob[] };
    const { read, write, error } = job!;
    if (error !== 0) throw new Error(`The probe has met error ${error}: ${decoder.decode(stderr)}`);
    if (read.total_ios === 0 || write.total_ios === 0) throw new Error("The probe has done nothing");
    return { read: read.clat_ns.max / 1e6, write: write.clat_ns.max / 1e6 };
  }
}
