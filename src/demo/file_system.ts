/** File systems of the kernel on a device: which can be made here, and how. */
import type { Stage } from "./stage.ts";

/** A kind of file system and its tools. */
export interface FileSystemKind {
  name: "ext4" | "xfs";
  make: readonly string[];
  /** Looks for damage and changes nothing; exit code 0 if there is none. */
  check: readonly string[];
  /** It needs no less than this. */
  bytesMin: number;
}

const KINDS: readonly FileSystemKind[] = [
  { name: "ext4", make: ["mkfs.ext4", "-q", "-F"], check: ["e2fsck", "-f", "-n"], bytesMin: 16 << 20 },
  { name: "xfs", make: ["mkfs.xfs", "-q", "-f"], check: ["xfs_repair", "-n"], bytesMin: 300 << 20 },
];

/** Where administrators' programs are, whether or not the user's PATH says so. */
const ADMIN_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The user's PATH and the folders of administrators' programs. */
export function programPath(path = Deno.env.get("PATH") ?? "/usr/bin:/bin"): string {
  const folders = path.split(":");
  return [...folders, ...ADMIN_FOLDERS.filter((folder) => !folders.includes(folder))].join(":");
}

/** True if there is a program of that name in `path`. */
export function hasProgram(name: string, path = programPath()): boolean {
  return path.split(":").some((folder) => isExecutable(`${folder}/${name}`));
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

/** The first kind that this host can make; null if there is none. */
export function findFileSystem(has: (program: string) => boolean = hasProgram): FileSystemKind | null {
  return KINDS.find(({ make }) => has(make[0]!)) ?? null;
}

/** What `mount` says where the user, the container or the kernel does not allow it at all. */
const CANNOT_MOUNT = /permission denied|not permitted|must be superuser|only root|unknown filesystem type/i;

/** A file system on a device, made new, mounted and unmounted. */
export class FileSystem {
  readonly kind: FileSystemKind;
  readonly device: string;
  readonly folder: string;
  readonly #stage: Stage;
  #unowe: (() => Promise<void>) | null = null;

  /** It is to be mounted on `folder`, which is there. */
  constructor(stage: Stage, options: { kind: FileSystemKind; device: string; folder: string }) {
    this.#stage = stage;
    this.kind = options.kind;
    this.device = options.device;
    this.folder = options.folder;
  }

  /** The command that {@linkcode make} runs. */
  get makeCommand(): string[] {
    return [...this.kind.make, this.device];
  }

  get mountCommand(): string[] {
    return ["mount", "-t", this.kind.name, "-o", "nodev,nosuid,noexec", this.device, this.folder];
  }

  get checkCommand(): string[] {
    return [...this.kind.check, this.device];
  }

  /** The command that looks for damage is there. */
  get canCheck(): boolean {
    return hasProgram(this.kind.check[0]!);
  }

  async make(): Promise<void> {
    await this.#stage.run(this.makeCommand, { check: true });
  }

  /** Null, or why this host does not let anybody mount it. Anything else that goes wrong is thrown. */
  async mount(): Promise<string | null> {
    const { code, stderr } = await this.#stage.run(this.mountCommand, { isWhole: true });
    if (code === 0) {
      this.#unowe = this.#stage.owe(`the mount on ${this.folder}`, () => this.#unmount());
      return null;
    }
    if (CANNOT_MOUNT.test(stderr)) return stderr.trim().split("\n")[0]!;
    await this.#stage.run(this.mountCommand, { check: true });
    return null;
  }

  async unmount(): Promise<void> {
    await this.#unowe?.();
    this.#unowe = null;
  }

  /** Somebody may just look at it, as desktops do with what is mounted. */
  async #unmount(): Promise<void> {
    const { code } = await this.#stage.run(["umount", this.folder], { isWhole: true });
    if (code === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
    const again = await this.#stage.run(["umount", this.folder], { isWhole: true });
    if (again.code === 0) return;
    await this.#stage.run(["umount", "-l", this.folder], { isWhole: true });
    throw new Error(`"umount ${this.folder}" failed: ${again.stderr.trim()}; it was taken away lazily`);
  }

  /** Looks for damage; nothing is mounted. Gives the exit code and what it said. */
  async check(): Promise<{ code: number; words: string }> {
    const { code, stdout, stderr } = await this.#stage.run(this.checkCommand);
    return { code, words: `${stdout}${stderr}`.trim() };
  }
}
