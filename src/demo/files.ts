/** Files whose content is known by their checksums. */

/** One file as it was written. */
export interface KnownFile {
  path: string;
  sha256: string;
}

/** Bytes that one call of `getRandomValues` gives at most. */
const RANDOM_BYTES_MAX = 65536;

/** Writes files of random content, each of them on stable storage when this returns. */
export async function writeFiles(folder: string, files: number, bytes: number): Promise<KnownFile[]> {
  const known: KnownFile[] = [];
  for (let i = 0; i < files; i++) {
    const path = `${folder}/file-${i}`;
    const content = randomBytes(bytes);
    using file = await Deno.open(path, { write: true, createNew: true });
    for (let done = 0; done < bytes;) done += await file.write(content.subarray(done));
    await file.sync();
    known.push({ path, sha256: await sha256(content) });
  }
  return known;
}

/** The files that are not what they were, in words. */
export async function changedFiles(known: readonly KnownFile[]): Promise<string[]> {
  const changed: string[] = [];
  for (const { path, sha256: wanted } of known) {
    const found = await sha256(await Deno.readFile(path));
    if (found !== wanted) changed.push(`${path} has sha256 ${found}, and had ${wanted}`);
  }
  return changed;
}

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += RANDOM_BYTES_MAX) {
    crypto.getRandomValues(bytes.subarray(at, Math.min(at + RANDOM_BYTES_MAX, length)));
  }
  return bytes;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
