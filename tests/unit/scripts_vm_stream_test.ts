import { assertEquals } from "@std/assert";
import { relayUntilMarker, Tail } from "../../scripts/vm_stream.ts";

const TOKEN = "token";

async function relay(chunks: string[]): Promise<{ text: string; marked: boolean }> {
  const encoder = new TextEncoder();
  let text = "";
  const source = ReadableStream.from(chunks.map((chunk) => encoder.encode(chunk)));
  const marked = await relayUntilMarker(source, TOKEN, (bytes) => {
    text += new TextDecoder().decode(bytes);
  });
  return { text, marked };
}

Deno.test("relayUntilMarker() stops at the marker wherever the chunks break", async () => {
  const whole = "a\0b\0tok\0\0token";
  for (let at = 0; at <= whole.length; at++) {
    assertEquals(await relay([whole.slice(0, at), whole.slice(at)]), { text: "a\0b\0tok\0", marked: true }, `at ${at}`);
  }
  assertEquals(await relay([...whole]), { text: "a\0b\0tok\0", marked: true });
});

Deno.test("relayUntilMarker() hands on what it held back when the stream ends without a marker", async () => {
  assertEquals(await relay(["abc\0tok"]), { text: "abc\0tok", marked: false });
});

Deno.test("Tail keeps the last lines within its limit", () => {
  const tail = new Tail(8);
  tail.add("one\ntwo\n");
  tail.add("three\n");
  assertEquals(tail.text(), "o\nthree");
  assertEquals(tail.text(1), "three");
});

Deno.test("Tail gives what came after a line, the last one if there are several", () => {
  const tail = new Tail(100);
  assertEquals(tail.since("mark"), null);
  tail.add("boot\r\nmark\r\nold\r\n no mark\r\nmark\r\nnew\r\nlast\r\n");
  assertEquals(tail.since("mark"), "new\nlast");
  tail.add("mark\r\n");
  assertEquals(tail.since("mark"), "");
});
