import { assertEquals, assertMatch } from "@std/assert";
import { StandstillWatch, standstillWords } from "../../../../src/host/worker/standstill.ts";

/** A thread that beats, and one that looks at it each second. */
class Clock {
  readonly beats = new Int32Array(new SharedArrayBuffer(4));
  readonly watch = new StandstillWatch(this.beats, 5_000);
  readonly said: string[] = [];
  nowMs = 1_000;

  pass(seconds: number, { beats = false, stepMs = 1_000 } = {}): void {
    for (let i = 0; i < seconds; i++) {
      this.nowMs += stepMs;
      if (beats) this.beats[0]!++;
      const found = this.watch.look(this.nowMs);
      if (found !== null) this.said.push(`${found.kind} ${found.forMs / 1_000}`);
    }
  }
}

Deno.test("StandstillWatch says that a thread stands still, more and more seldom, and that it moves again", () => {
  const clock = new Clock();
  clock.pass(60, { beats: true });
  assertEquals(clock.said, []);
  clock.pass(45);
  assertEquals(clock.said, ["still 5", "still 10", "still 20", "still 40"]);
  clock.pass(3, { beats: true });
  assertEquals(clock.said.slice(4), ["moves 45"]);
  clock.pass(5);
  assertEquals(clock.said.slice(5), ["still 5"]);
});

Deno.test("StandstillWatch says nothing of a short pause, nor of a process that was stopped as a whole", () => {
  const clock = new Clock();
  clock.pass(3, { beats: true });
  clock.pass(4);
  clock.pass(1, { beats: true });
  assertEquals(clock.said, []);
  // Asleep for an hour: the thread had one look's time to beat since.
  clock.pass(1, { stepMs: 3_600_000 });
  clock.pass(1, { beats: true });
  assertEquals(clock.said, []);
});

Deno.test("standstillWords() say where the thread stands", () => {
  const where = "it is in the kernel, system call 257: lo_open < blkdev_get_whole";
  assertMatch(
    standstillWords({ kind: "still", forMs: 5_200 }, where),
    /^The main thread has not moved for 5s: it is in/,
  );
  assertEquals(standstillWords({ kind: "moves", forMs: 61_000 }, ""), "The main thread moves again, after 61s");
});
