/** A loop device over a file, as `losetup --direct-io=on` makes it. */
import { eventually } from "../vm/eventually.ts";
import { run } from "../vm/process.ts";

const GONE_MS = 10_000;

/** It goes away by itself when its process ends. */
export class LoopDevice implements AsyncDisposable {
  /** For example "/dev/loop0". */
  readonly device: string;
  readonly #hold: Deno.FsFile;

  private constructor(device: string, hold: Deno.FsFile) {
    this.device = device;
    this.#hold = hold;
  }

  /** Binds the file; throws if the driver does not do direct I/O on it, which would measure the page cache. */
  static async bind(file: string): Promise<LoopDevice> {
    const { stdout } = await run("losetup", ["--direct-io=on", "--show", "-f", file], { check: true });
    const device = stdout.trim();
    const hold = await Deno.open(device);
    // A device that is detached while it is open stays until it is closed, be it by the end of this process.
    await run("losetup", ["-d", device], { check: true });
    const loop = new LoopDevice(device, hold);
    if (loop.#attribute("dio") === "1" && loop.#attribute("autoclear") === "1") return loop;
    await loop[Symbol.asyncDispose]();
    throw new Error(`Cannot do direct I/O on ${file} through ${device}`);
  }

  /** Null if no file is bound. */
  #attribute(name: string): string | null {
    try {
      return Deno.readTextFileSync(`/sys/block/${this.device.replace("/dev/", "")}/loop/${name}`).trim();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hold.close();
    await eventually(() => this.#attribute("backing_file") === null, GONE_MS);
  }
}

/** Detaches what is still bound to files below a folder; the devices. */
export async function detachBelow(folder: string): Promise<string[]> {
  const { stdout } = await run("losetup", ["--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"]);
  const found = stdout.split("\n").filter((line) => line.split(" ")[1]?.startsWith(`${folder}/`));
  const devices = found.map((line) => line.split(" ")[0]!);
  for (const device of devices) await run("losetup", ["-d", device]);
  return devices;
}
