import { assert, assertEquals, assertThrows } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { ENOMEM } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { REGION_BYTES_MAX } from "../../../src/base/limits.ts";
import { Prng } from "../../../src/base/prng.ts";
import { Arena, type Region } from "../../../src/io/arena.ts";
import { Memory } from "../../../src/io/memory.ts";
import { RegionPlaces } from "../../../src/io/region_places.ts";
import { ReplacedNative } from "./replaced_native.ts";

const PAGE = native().um_page_bytes();
const MIB = 1 << 20;

/** KiB of a line of /proc/self/smaps, of all the address space of an arena with one mapping, which begins there. */
function kibOf({ address }: Region, { reservedBytes }: Arena, line: string): number {
  let kib = 0;
  let isIn = false;
  for (const text of Deno.readTextFileSync("/proc/self/smaps").split("\n")) {
    const [, start] = /^([0-9a-f]+)-[0-9a-f]+ /.exec(text) ?? [];
    if (start !== undefined) isIn = parseInt(start, 16) >= address && parseInt(start, 16) < address + reservedBytes;
    else if (isIn && text.startsWith(`${line}:`)) kib += Number(/\d+/.exec(text)![0]);
  }
  return kib;
}

Deno.test("Arena gives out regions that are zeroed, apart, at pages, and views of one buffer", () => {
  using arena = new Arena();
  const regions = [1, PAGE, PAGE + 1, 3 * MIB].map((bytes) => arena.allocate(bytes));
  const [first] = regions;
  assertEquals(regions.map(({ bytes }) => bytes.length), [1, PAGE, PAGE + 1, 3 * MIB]);
  for (const [mark, { address, bytes }] of regions.entries()) {
    assertEquals(address % PAGE, 0);
    assertEquals(address - first!.address, bytes.byteOffset - first!.bytes.byteOffset);
    assert(bytes.buffer === first!.bytes.buffer && bytes.every((byte) => byte === 0));
    assertEquals(Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes))), address);
    bytes.fill(mark + 1);
  }
  assert(regions.every(({ bytes }, mark) => bytes.every((byte) => byte === mark + 1)));
  assertEquals([arena.usedBytes, arena.mappings], [PAGE * 4 + 3 * MIB, 1]);
  arena.invariants();
  for (const region of regions) region[Symbol.dispose]();
});

Deno.test("Arena shows V8 its memory once, however many regions come and go", () => {
  using arena = new Arena();
  arena.allocate(PAGE)[Symbol.dispose]();
  const { external } = Deno.memoryUsage();
  const regions = Array.from({ length: 30 }, () => arena.allocate(100 * MIB));
  for (const region of regions.splice(0, 15)) region[Symbol.dispose]();
  regions.push(...Array.from({ length: 15 }, () => arena.allocate(100 * MIB)));
  assert(Deno.memoryUsage().external - external < 50 * MIB);
  for (const region of regions) region[Symbol.dispose]();
});

Deno.test("Arena gives the pages of a region back, and the next one there is zeroed", () => {
  using arena = new Arena();
  using before = arena.allocate(PAGE, { lock: true });
  const region = arena.allocate(4 * MIB, { lock: true });
  using _behind = arena.allocate(PAGE, { lock: true });
  const { address } = region;
  region.bytes.fill(0xff);
  assert(kibOf(before, arena, "Rss") >= 4096);
  region[Symbol.dispose]();
  region[Symbol.dispose]();
  for (const line of ["Rss", "Locked"]) assert(kibOf(before, arena, line) * 1024 <= 2 * PAGE, line);
  using next = arena.allocate(2 * MIB);
  assertEquals(next.address, address);
  assert(next.bytes.every((byte) => byte === 0));
});

Deno.test("Arena lets the kernel read and write the inside of regions only", () => {
  using arena = new Arena();
  const region = arena.allocate(PAGE);
  const { address } = region;
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, new Uint8Array(2 * PAGE).fill(5));
  using file = Deno.openSync(path);
  Deno.removeSync(path);
  assertEquals(file.readSync(region.bytes), PAGE);
  assertEquals(region.bytes[PAGE - 1], 5);
  region[Symbol.dispose]();
  using beyond = Memory.at(address, PAGE);
  assertThrows(() => file.readSync(beyond.bytes), Error, "os error 14");
});

Deno.test("Arena maps anew when a region fits nowhere, and only then", () => {
  using arena = new Arena({ mappingBytes: 4 * MIB });
  using _one = arena.allocate(3 * MIB);
  assertEquals([arena.mappings, arena.reservedBytes], [1, 4 * MIB]);
  const two = arena.allocate(2 * MIB);
  using _three = arena.allocate(MIB);
  assertEquals([arena.mappings, arena.reservedBytes], [2, 8 * MIB]);
  two[Symbol.dispose]();
  using _four = arena.allocate(4 * MIB);
  using _five = arena.allocate(4 * MIB - PAGE + 1);
  using large = arena.allocate(9 * MIB + 1);
  assertEquals([arena.mappings, arena.reservedBytes], [4, 21 * MIB + PAGE]);
  large.bytes[9 * MIB] = 1;
  arena.invariants();
});

Deno.test("Arena has a region beyond the first 4 GiB of its address space", () => {
  using arena = new Arena({ mappingBytes: 6 * 2 ** 30 });
  const spread = [REGION_BYTES_MAX, REGION_BYTES_MAX, PAGE].map((bytes) => arena.allocate(bytes));
  const [one, , three] = spread;
  assertEquals([arena.mappings, three!.address - one!.address], [1, 2 ** 32]);
  three!.bytes[0] = 3;
  one!.bytes[0] = 1;
  one!.bytes[REGION_BYTES_MAX - 1] = 2;
  assertEquals([three!.bytes[0], one!.bytes[0], one!.bytes[REGION_BYTES_MAX - 1]], [3, 1, 2]);
  assertThrows(() => arena.allocate(REGION_BYTES_MAX + 1), AssertionFailure);
  assertThrows(() => arena.allocate(0), AssertionFailure);
  for (const region of spread) region[Symbol.dispose]();
});

Deno.test("Arena takes less address space where there is less", () => {
  const asked: bigint[] = [];
  using arena = new Arena({ mappingBytes: 32 * MIB });
  {
    using _scarce = new ReplacedNative("um_reserve", (real, bytes: bigint) => {
      asked.push(bytes);
      return bytes > 5n * BigInt(MIB) ? null : real(bytes as never);
    });
    using _region = arena.allocate(3 * MIB);
    assertEquals(arena.reservedBytes, 4 * MIB);
    assertEquals(asked.splice(0).map((bytes) => Number(bytes) / MIB), [32, 16, 8, 4]);
    using _whole = arena.allocate(5 * MIB);
    assertEquals(asked.splice(0).map((bytes) => Number(bytes) / MIB), [32, 16, 8, 5]);
    assertThrows(() => arena.allocate(6 * MIB), UmpathError, "Cannot map 6 MiB of memory: out of memory");
    assertEquals(asked.splice(0).map((bytes) => Number(bytes) / MIB), [32, 16, 8, 6]);
  }
  arena.invariants();
  using _again = arena.allocate(6 * MIB);
});

Deno.test("Arena reserves less at a time where address space is limited", () => {
  const reserved = [64n, 500n, 4096n].map((gib) => {
    using _limited = new ReplacedNative("um_limit", (_real, _resource: number, limits: Uint8Array) => {
      new BigUint64Array(limits.buffer).set([gib << 30n, gib << 30n]);
      return 0;
    });
    using arena = new Arena();
    using _small = arena.allocate(PAGE);
    const { reservedBytes } = arena;
    using _large = arena.allocate(700 * MIB);
    return [reservedBytes / MIB, arena.reservedBytes / MIB];
  });
  assertEquals(reserved, [[512, 512 + 700], [4000, 4000], [4096, 4096]]);
});

Deno.test("Arena names the limit on address space if there is one", () => {
  using arena = new Arena();
  using _none = new ReplacedNative("um_reserve", () => null);
  using _limited = new ReplacedNative("um_limit", (_real, _resource: number, limits: Uint8Array) => {
    new BigUint64Array(limits.buffer).set([80n << 30n, 80n << 30n]);
    return 0;
  });
  const error = assertThrows(() => arena.allocate(PAGE), UmpathError);
  assertEquals([error.code, error.message], [
    "host-lacks",
    "Cannot map 4 KiB of memory: out of memory: this process may map 80 GiB (ulimit -v, LimitAS=)",
  ]);
  assertEquals(error.hint, "Raise the limit: ulimit -v unlimited, or LimitAS=infinity for a service");
});

Deno.test("Arena has the room again of a region that got no memory", () => {
  using arena = new Arena({ mappingBytes: MIB });
  {
    using _refused = new ReplacedNative("um_commit", () => -ENOMEM);
    assertThrows(() => arena.allocate(MIB), UmpathError, "Cannot map 1 MiB of memory: out of memory");
  }
  arena.invariants();
  using region = arena.allocate(MIB);
  assertEquals([arena.mappings, region.bytes.length], [1, MIB]);
});

Deno.test("Arena leaves out of use what the kernel does not take back", () => {
  using arena = new Arena({ mappingBytes: MIB });
  const region = arena.allocate(MIB);
  {
    using _refused = new ReplacedNative("um_decommit", () => -ENOMEM);
    region[Symbol.dispose]();
  }
  arena.invariants();
  using next = arena.allocate(MIB);
  assert(next.address !== region.address);
  assertEquals([arena.mappings, arena.usedBytes], [2, MIB]);
});

Deno.test("Arena keeps the address space of regions that are left at its end", () => {
  const arena = new Arena({ mappingBytes: MIB });
  const left = arena.allocate(MIB / 2);
  using _gone = arena.allocate(MIB);
  _gone[Symbol.dispose]();
  arena[Symbol.dispose]();
  left.bytes.fill(1);
  native().um_unmap(Deno.UnsafePointer.create(BigInt(left.address)), BigInt(MIB));
});

Deno.test("Arena.viewOf() finds a region of another arena by its place, and shows V8 each mapping once", () => {
  using arena = new Arena();
  using theirs = new Arena();
  const regions = Array.from({ length: 10 }, () => theirs.allocate(50 * MIB));
  const places = RegionPlaces.shared(regions.length);
  regions.forEach((region, index) => new RegionPlaces(places).set(index, region.place));
  arena.viewOf(regions[0]!.place);
  const { external } = Deno.memoryUsage();
  for (const [index, region] of regions.entries()) {
    const view = arena.viewOf(new RegionPlaces(places).at(index));
    assertEquals([view.length, view[0]], [50 * MIB, 0]);
    region.bytes[0] = index + 1;
    view[view.length - 1] = 100 + index;
    assertEquals([view[0], region.bytes[view.length - 1]], [index + 1, 100 + index]);
  }
  assert(Deno.memoryUsage().external - external < 50 * MIB);
  for (const region of regions) region[Symbol.dispose]();
});

Deno.test("Arena keeps its invariants and every region its content in a storm", () => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = new Prng(seed);
    using arena = new Arena({ mappingBytes: MIB });
    const live: { region: Region; mark: number }[] = [];
    for (let step = 0; step < 120; step++) {
      if (live.length > 0 && random.below(5) < 2) {
        const { region, mark } = live.splice(random.below(live.length), 1)[0]!;
        assert(region.bytes.every((byte) => byte === mark), `seed ${seed}, step ${step}`);
        region[Symbol.dispose]();
      } else {
        const region = arena.allocate(1 + random.below(random.below(20) === 0 ? 2 * MIB : 20 * PAGE), {
          lock: random.below(2) === 0,
        });
        assert(region.bytes.every((byte) => byte === 0), `seed ${seed}, step ${step}`);
        const mark = 1 + random.below(255);
        region.bytes.fill(mark);
        live.push({ region, mark });
      }
      arena.invariants();
    }
    for (const { region, mark } of live) {
      assert(region.bytes.every((byte) => byte === mark), `seed ${seed}`);
      region[Symbol.dispose]();
    }
    assertEquals(arena.usedBytes, 0);
  }
});
