import { assertEquals } from "@std/assert";
import {
  alignRows,
  count,
  listWords,
  midSentence,
  nearest,
  oneLine,
  printable,
  quote,
  wrapWords,
} from "../../../src/base/text.ts";

Deno.test("count() and listWords() make sentences", () => {
  assertEquals([count(0, "path"), count(1, "path"), count(2, "path")], ["0 paths", "1 path", "2 paths"]);
  assertEquals(count(2, "retry", "retries"), "2 retries");
  assertEquals([listWords([]), listWords(["a"]), listWords(["a", "b"])], ["", "a", "a and b"]);
  assertEquals(listWords(["a", "b", "c"], "or"), "a, b or c");
});

Deno.test("alignRows() pads columns but not the end of a line", () => {
  assertEquals(alignRows([["a", "10", "x"], ["bbb", "2", ""]], { right: [1] }), ["a    10  x", "bbb   2"]);
  assertEquals(alignRows([]), []);
});

Deno.test("nearest() finds a near miss and nothing far", () => {
  const commands = ["attach", "detach", "list", "show"];
  assertEquals(nearest("atach", commands), "attach");
  assertEquals(nearest("attahc", commands), "attach");
  assertEquals(nearest("lst", commands), "list");
  assertEquals(nearest("LIST", commands), "list");
  assertEquals(nearest("frobnicate", commands), null);
  assertEquals(nearest("", commands), null);
});

Deno.test("midSentence() takes the capital of a sentence away, and leaves that of a name", () => {
  assertEquals(midSentence("The controller is busy"), "the controller is busy");
  assertEquals(midSentence("A path"), "a path");
  for (const name of ["ANA log ends", "I/O queue 1", "NVMe is old", "CAP.MQES is 0", "connection refused", ""]) {
    assertEquals(midSentence(name), name);
  }
});

Deno.test("wrapWords() breaks lines at spaces", () => {
  assertEquals(wrapWords("one two three", 7), ["one two", "three"]);
  assertEquals(wrapWords("one incomprehensibilities two", 7), ["one", "incomprehensibilities", "two"]);
  assertEquals(wrapWords("", 7), [""]);
});

Deno.test("oneLine() and printable() show control characters instead of sending them", () => {
  assertEquals(oneLine("a\nb\tc\x07\x9b\u2028"), "a\\nb\\tc\\u0007\\u009b\\u2028");
  assertEquals(printable("a\n\x1b[2Jb"), "a\n\\u001b[2Jb");
  assertEquals(quote('a"b\n'), '"a\\"b\\n"');
  assertEquals(quote("\x7f\x9b2J\u2028"), '"\\u007f\\u009b2J\\u2028"');
});
