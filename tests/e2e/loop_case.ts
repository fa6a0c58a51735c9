/** Tests that need a loop device, and the volumes on it, of this very machine. */

/** Why this machine cannot have the loop device of a volume, or null. */
export function loopLack(): string | null {
  if (Deno.uid() !== 0) return "it takes root";
  for (const file of ["/dev/fuse", "/dev/loop-control"]) {
    try {
      Deno.openSync(file, { read: true, write: true }).close();
    } catch {
      return `${file} cannot be opened`;
    }
  }
  return null;
}

/** A test with a loop device; where there can be none, it is left out by name. */
export function loopTest(name: string, fn: () => Promise<void>): void {
  const lack = loopLack();
  Deno.test({
    name: lack === null ? name : `${name} (left out: ${lack})`,
    ignore: lack !== null,
    fn: () => fn().catch(tellBoth),
  });
}

/** The same, and it needs these programs of others. */
export function toolTest(name: string, tools: string[], fn: () => Promise<void>): void {
  const missing = tools.filter((tool) => !hasTool(tool));
  if (missing.length === 0) loopTest(name, fn);
  else Deno.test({ name: `${name} (left out: this machine has no ${missing.join(", ")})`, ignore: true, fn });
}

function hasTool(name: string): boolean {
  return ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].some((folder) => {
    try {
      return Deno.statSync(`${folder}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}

/** What failed first ends the test; what then failed while it was cleaned up is told too. */
function tellBoth(error: unknown): never {
  if (!(error instanceof SuppressedError)) throw error;
  console.error("Nor could it be cleaned up:", error.error);
  throw error.suppressed;
}
