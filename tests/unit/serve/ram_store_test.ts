import { assertEquals, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { Memory } from "../../../src/io/memory.ts";
import { RamStore } from "../../../src/serve/ram_store.ts";

const MIB = 1 << 20;

function bytesOf(store: RamStore): Uint8Array {
  return Memory.at(store.address, store.bytesMax).bytes;
}

Deno.test("RamStore sets address space aside to grow into, and what is cut off reads as zeroes later", () => {
  using store = RamStore.allocate(MIB);
  assertEquals([store.bytes, store.bytesMax], [MIB, 8 * MIB]);
  const bytes = bytesOf(store);
  bytes.fill(7, 0, MIB);
  store.resize(MIB / 2);
  assertEquals(store.bytes, MIB / 2);
  store.resize(4 * MIB);
  assertEquals([bytes[0], bytes[MIB / 2 - 1], bytes[MIB / 2], bytes[MIB - 1]], [7, 7, 0, 0]);
});

Deno.test("RamStore.resize() refuses more than was set aside, and changes nothing then", () => {
  using store = RamStore.allocate(MIB);
  const error = assertThrows(() => store.resize(8 * MIB + 4096), UmpathError);
  assertEquals(error.code, "usage");
  assertEquals(error.hint, "It can grow to 8 MiB, for which address space was set aside at the start");
  assertEquals(store.bytes, MIB);
});

Deno.test("RamStore.allocate() refuses more memory than the host has, in the size that was asked for", () => {
  const tooMuch = assertThrows(() => RamStore.allocate(100 * 2 ** 40, 8 * 2 ** 30), UmpathError);
  assertEquals(tooMuch.code, "host-lacks");
  assertEquals(tooMuch.message, "Cannot serve 100 TiB of memory: this host has 8 GiB, with its swap");
  assertEquals(tooMuch.hint?.endsWith("umpath serve FILE --size 100T"), true, tooMuch.hint);
  const noRoom = assertThrows(() => RamStore.allocate(2 ** 47, Infinity), UmpathError);
  assertEquals(noRoom.message, "Cannot serve 128 TiB of memory: out of memory");
});

Deno.test("RamStore.allocate() takes less room to grow where there is no more", () => {
  using store = RamStore.allocate(2 ** 45, Infinity); // eight times that is more than user space has
  assertEquals([store.bytes, store.bytesMax < 2 ** 48, store.bytesMax >= 2 ** 45], [2 ** 45, true, true]);
});
