import { assert, assertEquals, assertMatch } from "@std/assert";
import { duration, mebibytes, Story } from "../../../src/demo/story.ts";

function storyOf(colours = false): { story: Story; lines: string[] } {
  const lines: string[] = [];
  return { story: new Story({ print: (line) => lines.push(line), colours }), lines };
}

const LONG = Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ");

Deno.test("Story puts the time before events, and steps under their names", () => {
  const { story, lines } = storyOf();
  story.event("It begins");
  story.command("umpath list");
  story.step(404, "identify", "one volume");
  story.pause();
  story.detail("two\n  lines\n");
  assertMatch(lines[0]!, /^ {2}0\.\d s {2}It begins$/);
  assertMatch(lines[1]!, /^ {2}0\.\d s {2}\$ umpath list$/);
  assertEquals(lines.slice(2), ["         identify           one volume", "", "         two", "           lines"]);
  assertEquals(story.steps, [{ step: 404, name: "identify", facts: "one volume" }]);
});

Deno.test("Story has no line longer than 100 columns, and loses no word", () => {
  const { story, lines } = storyOf();
  story.event(LONG);
  story.command(LONG);
  story.failure(LONG);
  story.step(400, "connect", LONG);
  story.detail(`    ${LONG}\nshort`);
  for (const line of lines) assert(line.length <= 100, `${line.length}: ${line}`);
  const words = lines.join(" ").split(/\s+/).filter((word) => word.startsWith("word"));
  assertEquals(words.length, 5 * 60);
  assert(lines.every((line) => line === line.trimEnd()));
});

Deno.test("Story has colours only if it is told so, and they change no text", () => {
  const [plain, coloured] = [storyOf(), storyOf(true)];
  for (const { story } of [plain, coloured]) {
    story.command(LONG);
    story.step(400, "connect", LONG);
    story.failure("no");
    story.detail("plain");
  }
  // deno-lint-ignore no-control-regex
  const bare = coloured.lines.map((line) => line.replace(/\x1b\[\d+m/g, ""));
  assert(coloured.lines.join("").includes("\x1b[32mconnect"));
  assertEquals(bare.map((line) => line.slice(7)), plain.lines.map((line) => line.slice(7)));
  assert(!plain.lines.join("").includes("\x1b"));
});

Deno.test("duration() and mebibytes() give as many digits as people read", () => {
  assertEquals([0.06, 9.96, 10.4, 999, 1000, 5012].map(duration), [
    "0.1 ms",
    "10.0 ms",
    "10 ms",
    "999 ms",
    "1.0 s",
    "5.0 s",
  ]);
  assertEquals([512 << 20, 32 << 20, 1 << 19].map(mebibytes), ["512 MiB", "32.0 MiB", "0.5 MiB"]);
});
