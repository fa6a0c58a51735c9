import { Command } from "@commander-js/extra-typings";
import { assertEquals } from "@std/assert";
import { chosenTimeouts, TIMEOUT_OPTIONS, timeoutOptions } from "../../../src/cli/timeout_options.ts";
import { TIME_LIMITS } from "../../../src/settings/timeouts.ts";

function parse(...words: string[]) {
  const command = new Command().exitOverride();
  for (const option of timeoutOptions()) command.addOption(option);
  return chosenTimeouts(command.parse(words, { from: "user" }).opts());
}

Deno.test("chosenTimeouts() gets every option that a user gives, and nothing else", () => {
  assertEquals(parse(), {});
  for (const { name, key } of TIMEOUT_OPTIONS) {
    assertEquals(parse(name, "3s"), { [key]: 3000 }, name);
    assertEquals(parse(`${name}=3s`), { [key]: 3000 }, name);
  }
});

Deno.test("chosenTimeouts() takes off as no limit where there is one", () => {
  for (const { name, key } of TIMEOUT_OPTIONS) {
    if (TIME_LIMITS[key].off === true) assertEquals(parse(name, "off"), { [key]: null }, name);
  }
  assertEquals(parse("--write-hold", "auto"), { writeHoldMs: "auto" });
});
