import { assertEquals, assertStringIncludes } from "@std/assert";
import { EXIT_CODES, isErrorCode, messageOf, UmpathError } from "../../../src/base/errors.ts";

Deno.test("EXIT_CODES are what scripts rely on", () => {
  assertEquals(EXIT_CODES, {
    bug: 1,
    usage: 2,
    "not-found": 3,
    unreachable: 4,
    refused: 5,
    "host-lacks": 6,
    "in-use": 7,
    "timed-out": 8,
    interrupted: 130,
  });
  assertEquals(new UmpathError("refused", "no").exitCode, 5);
});

Deno.test("UmpathError crosses the wire without its cause", () => {
  const error = new UmpathError("in-use", "Cannot detach", { hint: "Unmount it", cause: new Error("busy") });
  const back = UmpathError.fromWire(JSON.parse(JSON.stringify(error.toWire())));
  assertEquals([back.code, back.message, back.hint, back.cause], ["in-use", "Cannot detach", "Unmount it", undefined]);
  assertEquals(new UmpathError("usage", "x").toWire(), { code: "usage", message: "x" });
});

Deno.test("UmpathError.fromWire() makes a bug of what is no error", () => {
  for (
    const bad of [null, 5, "x", [], {}, { code: "nope", message: "x" }, { code: "usage" }, {
      code: "toString",
      message: "",
    }]
  ) {
    const error = UmpathError.fromWire(bad);
    assertEquals(error.code, "bug");
    assertStringIncludes(error.message, JSON.stringify(bad));
  }
});

Deno.test("UmpathError.from() keeps ours and wraps the rest", () => {
  const ours = new UmpathError("usage", "x");
  assertEquals(UmpathError.from(ours), ours);
  const wrapped = UmpathError.from(new TypeError("y"));
  assertEquals([wrapped.code, wrapped.message], ["bug", "y"]);
  assertEquals(messageOf("z"), "z");
  assertEquals(messageOf(new RangeError()), "RangeError");
  assertEquals([isErrorCode("bug"), isErrorCode("constructor"), isErrorCode(1)], [true, false, false]);
});

Deno.test("UmpathError makes its hint one line, whatever it quotes", () => {
  const error = new UmpathError("usage", "Cannot read it", { hint: "Write 1:a\nb\u001b[2J" });
  assertEquals(error.hint, "Write 1:a\\nb\\u001b[2J");
});
