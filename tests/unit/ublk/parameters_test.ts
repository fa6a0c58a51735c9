import { assertEquals, assertThrows } from "@std/assert";
import type { Geometry } from "../../../src/block/device.ts";
import { UblkAttr, UblkParamType } from "../../../src/protocol/ublk_params.ts";
import {
  decodeParameters,
  deviceParameters,
  encodeParameters,
  ParameterError,
  type ParameterOptions,
} from "../../../src/ublk/parameters.ts";
import { makeGeometry } from "./fake_kernel.ts";

const HALF_MIB: ParameterOptions = { maxIoBytes: 512 * 1024 };

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g)!, (pair) => parseInt(pair, 16));
}

// Provenance: written by hand from the layout of struct ublk_params, a field a group.
const VECTORS: [name: string, Partial<Geometry>, hex: string][] = [
  [
    "1 GiB of 512-byte blocks, read-only, without anything else",
    {
      blocks: 2097152,
      physicalBlockSize: 512,
      volatileCache: false,
      readOnly: true,
      maxDiscardBytes: 0,
      maxWriteZeroesBytes: 0,
    },
    "3c000000 01000000  01000000 09 09 09 09 00040000 00000000 0000200000000000 0000000000000000" +
    "00000000 00000000 00000000 00000000 0000 0000",
  ],
  [
    "8 TiB of 4096-byte blocks with cache, discard and write zeroes",
    {
      blockSize: 4096,
      blocks: 2 ** 31,
      physicalBlockSize: 16384,
      minIoBytes: 16384,
      optimalIoBytes: 131072,
      maxDiscardBytes: 2 ** 40,
      discardGranularity: 65536,
      maxWriteZeroesBytes: 131072,
    },
    "3c000000 03000000  0c000000 0c 0e 11 0e 00040000 00000000 0000000004000000 0000000000000000" +
    "00000000 00000100 f8ff7f00 00010000 0100 0000",
  ],
];

for (const [name, geometry, hex] of VECTORS) {
  Deno.test(`encodeParameters() gives the bytes of ${name}`, () => {
    assertEquals(encodeParameters(makeGeometry(geometry), HALF_MIB), fromHex(hex));
  });
}

Deno.test("decodeParameters() is the inverse of encodeParameters()", () => {
  for (const [, changes] of VECTORS) {
    const geometry = makeGeometry(changes);
    const encoded = encodeParameters(geometry, HALF_MIB);
    const longer = new Uint8Array(160);
    longer.set(encoded, 8);
    assertEquals(decodeParameters(longer.subarray(8)), deviceParameters(geometry, HALF_MIB));
  }
  assertThrows(() => decodeParameters(new Uint8Array(59)), ParameterError, "59 bytes");
});

Deno.test("deviceParameters() keeps I/O hints between the physical block and the largest I/O", () => {
  const rows: [Partial<Geometry>, minIoShift: number, optimalIoShift: number, physicalBlockShift: number][] = [
    [{}, 12, 12, 12],
    [{ minIoBytes: 1, optimalIoBytes: 3 * 4096 }, 12, 13, 12],
    [{ optimalIoBytes: 2 ** 40 }, 12, 19, 12],
    [{ blockSize: 4096, physicalBlockSize: 512 }, 12, 12, 12],
    [{ physicalBlockSize: 0 }, 9, 9, 9],
    [{ physicalBlockSize: 3000 }, 11, 11, 11],
  ];
  for (const [changes, minIoShift, optimalIoShift, physicalBlockShift] of rows) {
    const parameters = deviceParameters(makeGeometry(changes), HALF_MIB);
    assertEquals(
      [parameters.minIoShift, parameters.optimalIoShift, parameters.physicalBlockShift],
      [minIoShift, optimalIoShift, physicalBlockShift],
    );
  }
});

Deno.test("deviceParameters() gives the largest I/O in whole pages, at most 32 MiB", () => {
  const sectors = (options: ParameterOptions) => deviceParameters(makeGeometry(), options).maxSectors;
  assertEquals(sectors({ maxIoBytes: 4096 }), 8);
  assertEquals(sectors({ maxIoBytes: 8191 }), 8);
  assertEquals(sectors({ maxIoBytes: 2 ** 30 }), 65536);
  assertEquals(sectors({ maxIoBytes: 200 * 1024, pageBytes: 65536 }), 384);
  for (const options of [{ maxIoBytes: 4095 }, { maxIoBytes: 32768, pageBytes: 65536 }, { maxIoBytes: NaN }]) {
    assertThrows(() => sectors(options), ParameterError, "a page is");
  }
});

Deno.test("deviceParameters() keeps a discard below 4 GiB and leaves out what is less than a block", () => {
  const of = (changes: Partial<Geometry>) => deviceParameters(makeGeometry({ blockSize: 4096, ...changes }), HALF_MIB);
  assertEquals(of({ maxDiscardBytes: Infinity }).maxDiscardSectors, 8388600);
  assertEquals(of({ maxWriteZeroesBytes: 4097 }).maxWriteZeroesSectors, 8);
  assertEquals(of({ maxDiscardBytes: 4095, maxWriteZeroesBytes: 0 }).types, UblkParamType.BASIC);
  assertEquals(of({ discardGranularity: 0 }).discardGranularity, 4096);
  const zeroesOnly = of({ maxDiscardBytes: 0 });
  assertEquals([zeroesOnly.types, zeroesOnly.discardGranularity], [3, 4096]);
});

Deno.test("deviceParameters() never says rotational, and FUA only with a volatile cache", () => {
  const attrs = (changes: Partial<Geometry>) => deviceParameters(makeGeometry(changes), HALF_MIB).attrs;
  assertEquals(attrs({ volatileCache: true }), UblkAttr.VOLATILE_CACHE | UblkAttr.FUA);
  assertEquals(attrs({ volatileCache: false }), 0);
  assertEquals(attrs({ volatileCache: false, readOnly: true }), UblkAttr.READ_ONLY);
});

const BAD: [name: string, Partial<Geometry>, words: string][] = [
  ["blocks of 520 bytes", { blockSize: 520 }, "520-byte blocks"],
  ["blocks of 8 KiB", { blockSize: 8192 }, "8192-byte blocks"],
  ["no block size", { blockSize: 0 }, "0-byte blocks"],
  ["no blocks", { blocks: 0 }, "of 0 blocks"],
  ["a negative size", { blocks: -1 }, "of -1 blocks"],
  ["a size that is no exact number", { blocks: 2 ** 54 }, "blocks"],
  ["half a block", { blocks: 0.5 }, "of 0.5 blocks"],
  ["2^63 bytes", { blockSize: 4096, blocks: 2 ** 51 }, "2^63 bytes"],
  ["a discard granularity that is no whole blocks", { discardGranularity: 700 }, "units of 700 bytes"],
  ["a negative discard limit", { maxDiscardBytes: -1 }, "-1 bytes at once"],
  ["a write-zeroes limit that is no number", { maxWriteZeroesBytes: NaN }, "NaN bytes at once"],
];

for (const [name, geometry, words] of BAD) {
  Deno.test(`deviceParameters() refuses ${name}`, () => {
    assertThrows(() => deviceParameters(makeGeometry(geometry), HALF_MIB), ParameterError, words);
  });
}
