/** What the kernel hands over for a device: ublk descriptors and FUSE requests, against models as simple as can be. */
import { assert, assertEquals } from "@std/assert";
import type { Prng } from "../../../src/base/prng.ts";
import type { Geometry } from "../../../src/block/device.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { DescriptorReader } from "../../../src/ublk/descriptor.ts";
import { BLOCK, BUFFER, makeFile, outHeader } from "../loopdev/fake_fuse.ts";
import { fallocateBody, openBody, request, transferBody } from "../loopdev/fuse_request.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";
import { fuzz, Tally } from "./harness.ts";
import { mutate, mutateInPlace, pick } from "./mutator.ts";

// ── ublk ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const EINVAL = 22, EROFS = 30, EOPNOTSUPP = 95;
const DEPTH = 3;
const TAG = 1;
/** By `UBLK_IO_OP_*`: the operation of a block device. */
const BLOCK_OPS: Readonly<Record<number, number>> = { 0: 0, 1: 1, 2: 2, 3: 3, 5: 4 };

function descriptor(op: number, sectors: number, sector: bigint): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, op, true);
  view.setUint32(4, sectors, true);
  view.setBigUint64(8, sector, true);
  return bytes;
}

const DESCRIPTORS = [
  descriptor(0, 8, 0n),
  descriptor(1 | (1 << 13), 16, 4080n),
  descriptor(2, 0, 2n ** 64n - 1n),
  descriptor(3, 2048, 8n),
  descriptor(5 | (1 << 15), 8, 2n ** 33n),
];

/** What is to become of a descriptor: an errno, or the request. */
function expectedRequest(bytes: Uint8Array, geometry: Geometry) {
  const view = new DataView(bytes.buffer);
  const opFlags = view.getUint32(0, true);
  const op = BLOCK_OPS[opFlags & 0xff];
  const flags = ((opFlags >>> 13) & 1) | (((opFlags >>> 15) & 1) << 1);
  const known = op !== undefined && (op !== 3 || geometry.maxDiscardBytes > 0) &&
    (op !== 4 || geometry.maxWriteZeroesBytes > 0);
  if (!known) return { errno: EOPNOTSUPP };
  if (op === 2) return { op, flags, lba: 0n, blocks: 0n };
  if (geometry.readOnly && op !== 0) return { errno: EROFS };
  const perBlock = BigInt(geometry.blockSize / 512);
  const sectors = BigInt(view.getUint32(4, true)), sector = view.getBigUint64(8, true);
  const isInside = sectors > 0n && (sector + sectors) <= BigInt(geometry.blocks) * perBlock;
  const fits = op > 1 || sectors * 512n <= BigInt(BUFFER);
  if (!isInside || !fits || sectors % perBlock !== 0n || sector % perBlock !== 0n) return { errno: EINVAL };
  return { op, flags, lba: sector / perBlock, blocks: sectors / perBlock };
}

const descriptorsRead = new Tally();

fuzz("DescriptorReader reads or refuses any descriptor, and touches no slot but its own", 3000, (prng) => {
  const geometry = makeGeometry({
    blockSize: pick(prng, [512, 4096]),
    blocks: pick(prng, [1, 4096, 2 ** 31, 2 ** 40, 2 ** 50]),
    readOnly: prng.below(4) === 0,
    maxDiscardBytes: pick(prng, [0, 1 << 20]),
    maxWriteZeroesBytes: pick(prng, [0, 1 << 20]),
  });
  const bytes = mutateInPlace(prng, pick(prng, DESCRIPTORS), { other: pick(prng, DESCRIPTORS), fields: [0, 4, 8, 12] });
  const descriptors = new Int32Array(DEPTH * 6).fill(-1);
  descriptors.set(new Int32Array(bytes.buffer), TAG * 6);
  const requests = new RequestTable(DEPTH, { bufferBytes: BUFFER });
  const fields = [requests.op, requests.flags, requests.lbaLow, requests.lbaHigh, requests.blocks, requests.status];
  for (const field of fields) field.fill(77);
  const result = new DescriptorReader(descriptors, requests, geometry).read(TAG);
  descriptorsRead.note(result === 0);
  const { op, flags, blocks, lbaHigh, lbaLow } = requests;
  const lba = (BigInt(lbaHigh[TAG]) << 32n) + BigInt(lbaLow[TAG]);
  const got = result === 0 ? { op: op[TAG], flags: flags[TAG], lba, blocks: BigInt(blocks[TAG]) } : { errno: -result };
  assertEquals(got, expectedRequest(bytes, geometry));
  for (const field of fields) assertEquals([field[0], field[2]], [77, 77]);
}, descriptorsRead.atEnd());

// ── FUSE ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const FuseOp = { GETATTR: 3, OPEN: 14, READ: 15, WRITE: 16, STATFS: 17, FSYNC: 20, FALLOCATE: 43 };
const SILENT = [2, 41, 42];
/** Operation, file, and what READ, WRITE and FALLOCATE say of their range. */
const FUSE_FIELDS = [4, 16, 40, 48, 52, 56, 60, 64];
/** The storage is larger than the file, to see that nothing is written behind its end. */
const FILE_BLOCKS = 64;
const FILE_BYTES = FILE_BLOCKS * BLOCK;

function validRequest(prng: Prng): Uint8Array {
  const offset = BigInt(prng.below(FILE_BLOCKS + 4) * BLOCK);
  const size = (1 + prng.below(BUFFER / BLOCK)) * BLOCK;
  switch (prng.below(6)) {
    case 0:
      return request({ opcode: FuseOp.READ, body: transferBody(offset, size) });
    case 1:
    case 2:
      return request({
        opcode: FuseOp.WRITE,
        body: transferBody(offset, size, new Uint8Array(size).fill(1 + prng.below(255))),
      });
    case 3:
      return request({
        opcode: FuseOp.FALLOCATE,
        body: fallocateBody(offset, BigInt(size), pick(prng, [0x3, 0x10, 0x11])),
      });
    case 4:
      return request({ opcode: FuseOp.OPEN, body: openBody(prng.below(4)) });
    default:
      return request({ opcode: pick(prng, [FuseOp.GETATTR, FuseOp.STATFS, FuseOp.FSYNC]), body: new Uint8Array(16) });
  }
}

/** One or two things wrong with a request; its number stays, for the driver's numbers are always right. */
function garbledRequest(prng: Prng, unique: bigint): Uint8Array<ArrayBuffer> {
  const valid = validRequest(prng);
  const header = Math.min(valid.length, 80);
  // Its data does not matter: what is wrong is mostly in the first 80 bytes.
  const head = prng.below(2) === 0
    ? mutate(prng, valid.subarray(0, header), { fields: FUSE_FIELDS })
    : mutateInPlace(prng, valid.subarray(0, header), { fields: FUSE_FIELDS });
  const body = prng.below(8) === 0 ? mutate(prng, valid.subarray(header)) : valid.subarray(header);
  const garbled = prng.below(4) === 0 ? valid : new Uint8Array([...head, ...body]);
  // No more than what is read at once: the driver drops a request that is longer.
  const bytes = new Uint8Array(garbled.subarray(0, 80 + BUFFER));
  const view = new DataView(bytes.buffer);
  if (bytes.length >= 16) view.setBigUint64(8, unique, true);
  // The queue refuses what has a wrong length, and the driver would wait for no refusal of these.
  const staysSilent = bytes.length >= 40 && SILENT.includes(view.getUint32(4, true));
  if (bytes.length >= 4 && (staysSilent || prng.below(4) > 0)) view.setUint32(0, bytes.length, true);
  return bytes;
}

/** Does to the model what the request was answered to have done; the data that a READ has to bring, null for others. */
function follow(model: Uint8Array, bytes: Uint8Array<ArrayBuffer>): Uint8Array | null {
  const view = new DataView(bytes.buffer);
  const opcode = view.getUint32(4, true);
  if (![FuseOp.READ, FuseOp.WRITE, FuseOp.FALLOCATE].includes(opcode)) return null;
  const offset = view.getBigUint64(48, true);
  if (opcode === FuseOp.FALLOCATE) {
    const length = view.getBigUint64(56, true);
    assert(offset + length <= FILE_BYTES, "Only what is in the file is zeroed");
    model.fill(0, Number(offset), Number(offset + length));
    return null;
  }
  const size = view.getUint32(56, true);
  if (opcode === FuseOp.READ) {
    return offset < FILE_BYTES
      ? model.slice(Number(offset), Math.min(Number(offset) + size, FILE_BYTES))
      : new Uint8Array(0);
  }
  assert(offset + BigInt(size) <= FILE_BYTES && bytes.length === 80 + size, "Only whole data is written");
  model.set(bytes.subarray(80), Number(offset));
  return null;
}

/** Nobody waits for an answer: it is too short for a header, or an operation that has none. */
function isSilent(bytes: Uint8Array<ArrayBuffer>): boolean {
  return bytes.length < 40 || SILENT.includes(new DataView(bytes.buffer).getUint32(4, true));
}

const requests = new Tally();

fuzz("FuseSlots answers any request once, and does only what it answers to have done", 300, (prng) => {
  const { fuse, storage, queue } = makeFile({
    depth: 3,
    geometry: { blocks: FILE_BLOCKS, maxWriteZeroesBytes: 3 * BLOCK },
  });
  const model = storage.slice();
  for (let i = 1 + prng.below(10), unique = 1n; i > 0; i--, unique++) {
    const bytes = garbledRequest(prng, unique);
    fuse.give(bytes);
    const answers = fuse.settle();
    assertEquals([answers.length, queue.inFlight], [isSilent(bytes) ? 0 : 1, 0]);
    if (answers.length === 0) continue;
    const { error, unique: answered } = outHeader(answers[0]);
    assertEquals(answered, unique);
    requests.note(error === 0);
    const data = error === 0 ? follow(model, bytes) : null;
    if (data !== null) assertEquals(answers[0].subarray(16), data);
  }
  assertEquals(storage, model);
  queue.close();
  assert(queue.isDrained, "Every slot is free again");
}, requests.atEnd());
