import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { parseAsyncEvent } from "../../../src/nvme_host/async_event.ts";

Deno.test("parseAsyncEvent() decodes the notices that umpath acts on (Base 2.0, section 5.2.1)", () => {
  assertEquals(parseAsyncEvent(0x000c0302), {
    kind: "ana-change",
    type: 2,
    info: 3,
    logPage: 0x0c,
    words: "asymmetric namespace access changed",
  });
  assertEquals(parseAsyncEvent(0x00040002).kind, "namespace-change");
  assertEquals(parseAsyncEvent(0x0070f002).kind, "discovery-change");
  assertEquals(parseAsyncEvent(0x00010300).kind, "persistent-error");
});

Deno.test("parseAsyncEvent() names an event that is not known", () => {
  const event = parseAsyncEvent(0xff7f8807 | 0);
  assertEquals([event.kind, event.type, event.info, event.logPage], ["other", 7, 0x88, 0x7f]);
  assertEquals(event.words, "unknown event of the type 7 with the information 0x88");
});

Deno.test("parseAsyncEvent() has words for every value: seed 1", () => {
  const prng = new Prng(1);
  for (let i = 0; i < 2000; i++) assert(parseAsyncEvent(prng.uint32()).words.length > 0);
});
