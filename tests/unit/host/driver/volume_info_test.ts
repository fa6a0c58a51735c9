import { assertEquals } from "@std/assert";
import { volumeState } from "../../../../src/host/driver/volume_info.ts";

const SERVES = { isServing: true, hasServed: true };
const LOST = { isServing: false, hasServed: true };
const NEVER = { isServing: false, hasServed: false };

Deno.test("volumeState() is degraded for a lost path, and not for one that was never live", () => {
  assertEquals(volumeState([SERVES, SERVES]), "live");
  assertEquals(volumeState([SERVES, LOST]), "degraded");
  assertEquals(volumeState([SERVES, NEVER]), "live");
  assertEquals(volumeState([SERVES, LOST, NEVER]), "degraded");
  assertEquals(volumeState([LOST, NEVER]), "no-path");
  assertEquals(volumeState([]), "no-path");
});
