import { assertEquals, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { type Selectable, volumeMeant, volumesMeant } from "../../../src/rpc/volume_match.ts";

const NQN = "nqn.2026-11.io.test:db";
const UUID = "5a3c1c1e-0000-4000-8000-00000000beef";
const VOLUMES: Selectable[] = [
  { name: "db-n1", device: "/dev/ublkb0", uuid: UUID, nqn: NQN, identifiers: ["00112233445566778899aabbccddeeff"] },
  { name: "db-n10", device: "/dev/loop3", uuid: "0011223344556677", nqn: NQN },
  { name: "web", device: null, uuid: "", nqn: "nqn.2026-11.io.test:web" },
  { name: "copy", device: null, uuid: UUID, nqn: "nqn.2026-11.io.test:copy" },
];

function named(word: string): string[] {
  return volumesMeant(VOLUMES, word).map(({ name }) => name);
}

Deno.test("volumesMeant() takes a name, a device, an identifier, an NQN or the beginning of a name, in that order", () => {
  assertEquals(named("db-n1"), ["db-n1"], "the whole name of one is the beginning of another");
  assertEquals([named("/dev/ublkb0"), named("loop3")], [["db-n1"], ["db-n10"]]);
  assertEquals(named(UUID.toUpperCase()), ["db-n1", "copy"]);
  assertEquals(named("00112233-4455-6677-8899-AABBCCDDEEFF"), ["db-n1"]);
  assertEquals(named("0011223344556677"), ["db-n10"]);
  assertEquals([named("nqn.2026-11.io.test:web"), named(NQN)], [["web"], ["db-n1", "db-n10"]]);
  assertEquals([named("w"), named("db-")], [["web"], ["db-n1", "db-n10"]]);
  assertEquals([named(""), named("b-n1"), named("/dev/ublkb1")], [[], [], []]);
});

Deno.test("volumeMeant() gives the one that is meant, or names the candidates", () => {
  assertEquals(volumeMeant(VOLUMES, "we").name, "web");
  for (const [word, candidates] of [["db-", "db-n1 or db-n10"], [UUID, "db-n1 or copy"], [NQN, "db-n1 or db-n10"]]) {
    const error = assertThrows(() => volumeMeant(VOLUMES, word!), UmpathError);
    assertEquals([error.code, error.message], [
      "usage",
      `Cannot tell which volume "${word}" means: ${candidates}`,
    ]);
  }
  const missing = assertThrows(() => volumeMeant(VOLUMES, "wbe"), UmpathError);
  assertEquals([missing.code, missing.message], ["not-found", 'No volume "wbe" is attached']);
});
