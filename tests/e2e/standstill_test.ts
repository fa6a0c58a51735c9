/** The main thread stands still: a data-plane thread says so, without it. */
import { assertEquals, assertMatch } from "@std/assert";

const FIXTURE = new URL("./standstill_fixture.ts", import.meta.url).pathname;

Deno.test("a data-plane thread logs that the main thread stands still, where, and that it moves again", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", FIXTURE],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const log = new TextDecoder().decode(stderr);
  assertEquals([code, new TextDecoder().decode(stdout)], [0, "beats\nmoves\n"], log);
  const [still, ...others] = log.trimEnd().split("\n");
  assertMatch(
    still!,
    / error worker: The main thread has not moved for \d+s: it is in the kernel, system call \d+: .*futex/,
  );
  assertMatch(others.at(-1)!, / warn worker: The main thread moves again, after \d+s$/);
});
