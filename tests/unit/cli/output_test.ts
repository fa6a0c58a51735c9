import { assertEquals, assertRejects } from "@std/assert";
import { Output } from "../../../src/cli/output.ts";

/** An output whose ends are one text, as on a terminal. */
function terminal(
  options: { isWatched: boolean; json?: boolean; terminal?: string },
): { output: Output; shown(): string } {
  let text = "";
  const write = (bytes: Uint8Array) => {
    text += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  const output = new Output({ json: false, columns: 80, terminal: "xterm", ...options, stdout: write, stderr: write });
  return { output, shown: () => text };
}

Deno.test("Output.progress() is a line that the next words replace", () => {
  const { output, shown } = terminal({ isWatched: true });
  output.progress("1 of 3 attached");
  output.progress("2 of 3 attached");
  output.line("/dev/ublkb0");
  output.progress("3 of 3 attached");
  output.warn("late");
  output.progress(null);
  assertEquals(
    shown(),
    "\r1 of 3 attached\x1b[K\r2 of 3 attached\x1b[K\r\x1b[K/dev/ublkb0\n" +
      "\r3 of 3 attached\x1b[K\r\x1b[Kumpath: warning: late\n",
  );
});

Deno.test("Output.progress() says nothing where nobody watches, on a dumb terminal, and to scripts", () => {
  for (
    const options of [{ isWatched: false }, { isWatched: true, json: true }, { isWatched: true, terminal: "dumb" }]
  ) {
    const { output, shown } = terminal(options);
    output.progress("1 of 3 attached");
    output.progress(null);
    assertEquals(shown(), "");
  }
});

Deno.test("Output.following() shows how far the work is until it is done, and gives what comes of it", async () => {
  const { output, shown } = terminal({ isWatched: true });
  const work = Promise.withResolvers<number>();
  let looks = 0;
  const look = () => {
    if (++looks === 2) work.resolve(7);
    return Promise.resolve(`${looks} of 2`);
  };
  assertEquals(await output.following(look, work.promise), 7);
  assertEquals(shown(), "\r1 of 2\x1b[K\r\x1b[K");
  await assertRejects(() => output.following(look, Promise.reject(new Error("lost"))), Error, "lost");
  const { output: unwatched } = terminal({ isWatched: false });
  assertEquals(await unwatched.following(() => Promise.reject(), Promise.resolve(1)), 1);
});
