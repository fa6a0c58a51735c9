import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { derivedNguid, derivedSerial, derivedUuid, newUuid, uuidBytes, uuidText } from "../../../src/serve/identity.ts";

const UUID = "5a3c1c1e-0a0b-4c0d-8e0f-000000000001";

Deno.test("uuidText() and uuidBytes() are each other's reverse", () => {
  assertEquals(uuidText(uuidBytes(UUID)), UUID);
  assertEquals(uuidBytes(UUID).slice(0, 4), new Uint8Array([0x5a, 0x3c, 0x1c, 0x1e]));
  assertEquals(uuidBytes(UUID.toUpperCase()), uuidBytes(UUID));
});

Deno.test("derivedUuid() gives each text a UUID of version 8, always the same", async () => {
  const uuid = uuidText(await derivedUuid("file 1 2"));
  assertMatch(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assertEquals(uuidText(await derivedUuid("file 1 2")), uuid);
  assertNotEquals(uuidText(await derivedUuid("file 1 3")), uuid);
});

Deno.test("newUuid() gives none twice", () => {
  const uuids = new Set(Array.from({ length: 64 }, () => uuidText(newUuid())));
  assertEquals(uuids.size, 64);
});

Deno.test("derivedNguid() and derivedSerial() follow from the UUID, and are none of it", async () => {
  const [uuid, other] = [uuidBytes(UUID), newUuid()];
  assertEquals((await derivedNguid(uuid)).length, 16);
  assertEquals(await derivedNguid(uuid), await derivedNguid(uuid.slice()));
  assertNotEquals(await derivedNguid(uuid), await derivedNguid(other));
  assertNotEquals(await derivedNguid(uuid), uuid);
  assertMatch(await derivedSerial(uuid), /^[0-9a-f]{20}$/);
  assertNotEquals(await derivedSerial(uuid), await derivedSerial(other));
});
