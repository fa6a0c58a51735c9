import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EINVAL, EOPNOTSUPP, EROFS } from "../../../src/base/errno.ts";
import type { Geometry } from "../../../src/block/device.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";
import { UblkIoFlag, UblkIoOp } from "../../../src/protocol/ublk.ts";
import { DescriptorReader } from "../../../src/ublk/descriptor.ts";
import { makeGeometry } from "./fake_kernel.ts";

const BUFFER = 64 * 1024;
const FOUR_K: Partial<Geometry> = { blockSize: 4096, blocks: 512 };
const HUGE: Partial<Geometry> = { blocks: 2 ** 53 };
const HUGE_FOUR_K: Partial<Geometry> = { blockSize: 4096, blocks: 2 ** 51 };

interface Row {
  name: string;
  geometry?: Partial<Geometry>;
  opFlags: number;
  sectors: number;
  sector: bigint;
}

function readOne(row: Row) {
  const requests = new RequestTable(2, { bufferBytes: BUFFER });
  requests.status[1] = 99;
  const descriptor = new BigInt64Array([
    BigInt.asIntN(64, BigInt(row.opFlags >>> 0) | (BigInt(row.sectors) << 32n)),
    BigInt.asIntN(64, row.sector),
    0x7f00_0000_0000n,
  ]);
  const descriptors = new Int32Array(12);
  descriptors.set(new Int32Array(descriptor.buffer), 6);
  const result = new DescriptorReader(descriptors, requests, makeGeometry(row.geometry)).read(1);
  return { result, requests };
}

const GOOD: (Row & { op: number; flags: number; lba: bigint; blocks: number })[] = [
  { name: "read", opFlags: UblkIoOp.READ, sectors: 8, sector: 16n, op: BlockOp.READ, flags: 0, lba: 16n, blocks: 8 },
  {
    name: "write with FUA, and flags that mean nothing here",
    opFlags: UblkIoOp.WRITE | UblkIoFlag.FUA | UblkIoFlag.META | UblkIoFlag.SWAP,
    sectors: 128,
    sector: 0n,
    op: BlockOp.WRITE,
    flags: BlockFlag.FUA,
    lba: 0n,
    blocks: 128,
  },
  {
    name: "flush, whose range means nothing",
    opFlags: UblkIoOp.FLUSH,
    sectors: 3,
    sector: 0xffff_ffff_ffff_ffffn,
    op: BlockOp.FLUSH,
    flags: 0,
    lba: 0n,
    blocks: 0,
  },
  {
    name: "discard larger than a buffer",
    opFlags: UblkIoOp.DISCARD,
    sectors: 4096,
    sector: 0n,
    op: BlockOp.DISCARD,
    flags: 0,
    lba: 0n,
    blocks: 4096,
  },
  {
    name: "write zeroes without unmapping",
    opFlags: UblkIoOp.WRITE_ZEROES | UblkIoFlag.NOUNMAP,
    sectors: 8,
    sector: 4088n,
    op: BlockOp.WRITE_ZEROES,
    flags: BlockFlag.NO_UNMAP,
    lba: 4088n,
    blocks: 8,
  },
  {
    name: "4 KiB blocks",
    geometry: FOUR_K,
    opFlags: UblkIoOp.READ,
    sectors: 16,
    sector: 4080n,
    op: BlockOp.READ,
    flags: 0,
    lba: 510n,
    blocks: 2,
  },
  {
    name: "an address of more than 32 bits",
    geometry: HUGE,
    opFlags: UblkIoOp.READ,
    sectors: 1,
    sector: 2n ** 53n - 1n,
    op: BlockOp.READ,
    flags: 0,
    lba: 2n ** 53n - 1n,
    blocks: 1,
  },
  {
    name: "an address of more than 32 bits, 4 KiB blocks",
    geometry: HUGE_FOUR_K,
    opFlags: UblkIoOp.READ,
    sectors: 8,
    sector: 0x12_3456_789a_bcd8n,
    op: BlockOp.READ,
    flags: 0,
    lba: 0x2_468a_cf13_579bn,
    blocks: 1,
  },
];

const BAD: (Row & { errno: number })[] = [
  { name: "WRITE_SAME", opFlags: UblkIoOp.WRITE_SAME, sectors: 8, sector: 0n, errno: EOPNOTSUPP },
  { name: "a zone operation", opFlags: UblkIoOp.ZONE_APPEND, sectors: 8, sector: 0n, errno: EOPNOTSUPP },
  { name: "an unknown operation", opFlags: 0xffff_ffff, sectors: 8, sector: 0n, errno: EOPNOTSUPP },
  {
    name: "discard of a device that has none",
    geometry: { maxDiscardBytes: 0 },
    opFlags: UblkIoOp.DISCARD,
    sectors: 8,
    sector: 0n,
    errno: EOPNOTSUPP,
  },
  {
    name: "write zeroes of a device that has none",
    geometry: { maxWriteZeroesBytes: 0 },
    opFlags: UblkIoOp.WRITE_ZEROES,
    sectors: 8,
    sector: 0n,
    errno: EOPNOTSUPP,
  },
  {
    name: "write to a read-only device",
    geometry: { readOnly: true },
    opFlags: UblkIoOp.WRITE,
    sectors: 8,
    sector: 0n,
    errno: EROFS,
  },
  {
    name: "discard of a read-only device",
    geometry: { readOnly: true },
    opFlags: UblkIoOp.DISCARD,
    sectors: 8,
    sector: 0n,
    errno: EROFS,
  },
  { name: "no sectors", opFlags: UblkIoOp.READ, sectors: 0, sector: 0n, errno: EINVAL },
  { name: "more than the buffer", opFlags: UblkIoOp.WRITE, sectors: 129, sector: 0n, errno: EINVAL },
  { name: "2 TiB", opFlags: UblkIoOp.READ, sectors: 0xffff_ffff, sector: 0n, errno: EINVAL },
  { name: "one block past the end", opFlags: UblkIoOp.READ, sectors: 8, sector: 4089n, errno: EINVAL },
  { name: "a start past the end", opFlags: UblkIoOp.READ, sectors: 8, sector: 4096n, errno: EINVAL },
  { name: "a start of all ones", opFlags: UblkIoOp.READ, sectors: 8, sector: 2n ** 64n - 1n, errno: EINVAL },
  {
    name: "one past the end of the largest device",
    geometry: HUGE,
    opFlags: UblkIoOp.READ,
    sectors: 2,
    sector: 2n ** 53n - 1n,
    errno: EINVAL,
  },
  {
    name: "a start inside a 4 KiB block",
    geometry: FOUR_K,
    opFlags: UblkIoOp.READ,
    sectors: 8,
    sector: 1n,
    errno: EINVAL,
  },
  {
    name: "a length that is no whole 4 KiB blocks",
    geometry: FOUR_K,
    opFlags: UblkIoOp.READ,
    sectors: 9,
    sector: 8n,
    errno: EINVAL,
  },
];

for (const row of GOOD) {
  Deno.test(`DescriptorReader reads ${row.name}`, () => {
    const { result, requests } = readOne(row);
    assertEquals(result, 0);
    assertEquals(requests.op[1], row.op);
    assertEquals(requests.flags[1], row.flags);
    assertEquals((BigInt(requests.lbaHigh[1]) << 32n) | BigInt(requests.lbaLow[1]), row.lba);
    assertEquals(requests.blocks[1], row.blocks);
    assertEquals(requests.status[1], 0);
  });
}

for (const row of BAD) {
  Deno.test(`DescriptorReader refuses ${row.name}`, () => assertEquals(readOne(row).result, -row.errno));
}

Deno.test("DescriptorReader asserts that every tag has a descriptor and blocks are powers of two", () => {
  const requests = new RequestTable(2, { bufferBytes: BUFFER });
  assertThrows(() => new DescriptorReader(new Int32Array(6), requests, makeGeometry()), AssertionFailure);
  const odd = makeGeometry({ blockSize: 520 });
  assertThrows(() => new DescriptorReader(new Int32Array(12), requests, odd), AssertionFailure);
});
