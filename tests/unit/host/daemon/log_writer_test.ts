import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type LogTarget, LogWriter } from "../../../../src/host/daemon/log_writer.ts";

/** A target whose writes end when, and as, the test says. */
class SlowTarget implements LogTarget {
  written = "";
  readonly #waiting: PromiseWithResolvers<void>[] = [];

  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const turn = Promise.withResolvers<void>();
    this.#waiting.push(turn);
    await turn.promise;
    this.written += new TextDecoder().decode(bytes);
  }

  async finish(error?: Error): Promise<void> {
    const turn = this.#waiting.shift()!;
    if (error === undefined) turn.resolve();
    else turn.reject(error);
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

Deno.test("LogWriter holds lines until it has a target, and keeps their order", async () => {
  const writer = new LogWriter();
  writer.write("a\n");
  writer.write("b\n");
  assertEquals(writer.queuedBytes, 4);
  const target = new SlowTarget();
  writer.open(target);
  writer.write("c\n");
  await target.finish();
  await target.finish();
  await writer.flush(1_000);
  assertEquals(target.written, "a\nb\nc\n");
});

Deno.test("LogWriter never waits for a target that hangs, keeps to its bound, and says how many lines it dropped", async () => {
  const writer = new LogWriter();
  const target = new SlowTarget();
  writer.open(target);
  const line = `${"x".repeat(1023)}\n`;
  for (let i = 0; i < 1_000; i++) writer.write(line);
  assert(writer.queuedBytes <= 256 * 1024, `${writer.queuedBytes} bytes are queued`);
  await target.finish();
  await target.finish();
  const kept = target.written.split("\n").filter((text) => text.startsWith("x")).length;
  assertEquals(kept, 256 + 1, "what was in the first write, and a full queue");
  assertStringIncludes(
    target.written,
    `umpath: ${1_000 - kept} lines of the log before this one lost: they came faster`,
  );
});

Deno.test("LogWriter says how many lines a full disk took, and why", async () => {
  const writer = new LogWriter();
  const target = new SlowTarget();
  writer.open(target);
  writer.write("lost\n");
  await target.finish(Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" }));
  await writer.flush(1_000);
  writer.write("kept\n");
  await target.finish();
  await writer.flush(1_000);
  assertEquals(target.written.split("\n")[1], "kept");
  assertStringIncludes(target.written, "umpath: 1 line of the log before this one lost: ");
  assertStringIncludes(target.written, "no space left on device");
});
