/** File systems on a volume, and files whose content is known. */
import { Prng } from "../../src/base/prng.ts";
import { run } from "./process.ts";

export type FilesystemKind = "ext4" | "xfs";

const MAKE: Record<FilesystemKind, [command: string, ...args: string[]]> = {
  ext4: ["mkfs.ext4", "-q", "-F"],
  xfs: ["mkfs.xfs", "-q", "-f"],
};
const FILES = 24;
const FILE_BYTES_MAX = 512 << 10;

/** Mounts a device while `body` runs, after making a file system on it if told so. */
export async function withFilesystem(
  kind: FilesystemKind,
  device: string,
  body: (folder: string) => Promise<unknown>,
  { make = false }: { make?: boolean } = {},
): Promise<void> {
  const [command, ...args] = MAKE[kind];
  if (make) await run(command, [...args, device], { check: true });
  const folder = await Deno.makeTempDir({ dir: "/run", prefix: "umpath-mount-" });
  await run("mount", ["-t", kind, device, folder], { check: true });
  try {
    await body(folder);
  } finally {
    await run("umount", [folder], { check: true });
    await Deno.remove(folder);
  }
}

/** Writes files of odd sizes and gives their checksums, as sha256sum has them. */
export async function writeFiles(folder: string, seed: number): Promise<string> {
  const prng = new Prng(seed);
  for (let i = 0; i < FILES; i++) {
    const bytes = new Uint8Array(1 + prng.below(FILE_BYTES_MAX));
    for (let at = 0; at < bytes.length; at += 1 + prng.below(64)) bytes[at] = prng.below(256);
    await Deno.mkdir(`${folder}/folder-${i % 4}`, { recursive: true });
    await Deno.writeFile(`${folder}/folder-${i % 4}/file-${i}`, bytes);
  }
  await run("sync", ["-f", folder], { check: true });
  const sums = await run("sh", ["-c", `cd ${folder} && find . -type f -exec sha256sum {} +`], { check: true });
  return sums.stdout;
}
