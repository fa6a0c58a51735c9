/** Joins this terminal to the test machine's, for `scripts/vm shell`. */

/** Copies both ways until detached; keys go through unchanged. */
export function attachTerminal(connection: Deno.UnixConn): { detach(): void } {
  const raw = Deno.stdin.isTerminal();
  if (raw) Deno.stdin.setRaw(true);
  copy(Deno.stdin, connection);
  copy(connection, Deno.stdout);
  return {
    detach() {
      if (raw) Deno.stdin.setRaw(false);
    },
  };
}

async function copy(
  source: { read(buffer: Uint8Array): Promise<number | null> },
  target: { write(bytes: Uint8Array): Promise<number> },
): Promise<void> {
  const buffer = new Uint8Array(4096);
  try {
    for (let length = await source.read(buffer); length !== null; length = await source.read(buffer)) {
      for (let done = 0; done < length;) done += await target.write(buffer.subarray(done, length));
    }
  } catch {
    // The machine has ended.
  }
}
