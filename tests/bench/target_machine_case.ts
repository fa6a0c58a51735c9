/** What a command costs in the target's own machines, with memory behind them and without a socket. */
import { MemoryDevice } from "../../src/block/memory_device.ts";
import { RequestTable } from "../../src/block/request.ts";
import { Prng } from "../../src/base/prng.ts";
import { NvmOpcode, SglAt, SglIdentifier, SQE_FLAGS_PSDT_SGL, SqeAt } from "../../src/protocol/nvme.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { CapsuleCmdAt, PduAt, PduHlen, PduType } from "../../src/protocol/nvme_tcp.ts";
import { TargetConnection } from "../../src/nvme_target/connection.ts";
import { IoQueue } from "../../src/nvme_target/io_queue.ts";
import { TargetTable } from "../../src/nvme_target/target_table.ts";

const SLOTS = 128;
const BATCH = 32;
const SLOT_BYTES = 128 << 10;
const BLOCK_BYTES = 4096;
/** More than caches hold. */
const BLOCKS = 1 << 16;
const IN_CAPSULE_BYTES = 8192;

/** Sends commands of one block, some at a time, as bytes, and takes the bytes of their answers; gives the commands. */
export function targetMachineBody(op: "read" | "write"): () => number {
  const { memory, connection, queue } = makeTarget();
  const capsules = makeCapsules(op);
  const random = new Prng(1);
  return () => {
    changeCapsules(capsules, random);
    receive(memory, connection, capsules.bytes);
    queue.turn(0);
    send(connection);
    return BATCH;
  };
}

function makeTarget() {
  const dataBytes = SLOTS * SLOT_BYTES;
  const scratchBytes = SLOT_BYTES;
  const memory = new Uint8Array(dataBytes + scratchBytes + TargetConnection.arenaBytes(SLOTS));
  const connection = new TargetConnection({
    memory,
    arenaOffset: dataBytes + scratchBytes,
    slots: SLOTS,
    dataOffset: 0,
    dataBytes: SLOT_BYTES,
    inCapsuleBytes: IN_CAPSULE_BYTES,
    crc32c: () => 0,
  });
  const transfer = { headerDigest: false, dataDigest: false, hostDataAlignment: 4, hostR2tsMax: 1 };
  connection.adopt(transfer, { sqEntries: SLOTS, sqFlowControl: false, sqHead: 1 });
  const table = new TargetTable();
  table.setBlocks(0, BLOCKS);
  table.setAna(0, AnaStateCode.OPTIMIZED);
  const requests = new RequestTable(IoQueue.slots(SLOTS), { bufferBytes: SLOT_BYTES });
  const storage = new Uint8Array(BLOCKS * BLOCK_BYTES).fill(1);
  const device = new MemoryDevice(requests, { blockSize: BLOCK_BYTES, storage, arena: memory });
  const namespaces = [{ index: 0, nsid: 1, blockSize: BLOCK_BYTES, device }];
  const options = { connection, requests, memory, namespaces, table, listener: 0, transferBytesMax: SLOT_BYTES };
  return { memory, connection, queue: new IoQueue(options) };
}

interface Capsules {
  bytes: Uint8Array;
  view: DataView;
  stride: number;
}

function makeCapsules(op: "read" | "write"): Capsules {
  const stride = PduHlen.CapsuleCmd + (op === "write" ? BLOCK_BYTES : 0);
  const bytes = new Uint8Array(BATCH * stride);
  const view = new DataView(bytes.buffer);
  for (let command = 0; command < BATCH; command++) {
    const at = command * stride;
    const sqe = at + CapsuleCmdAt.SQE;
    bytes[at + PduAt.TYPE] = PduType.CapsuleCmd;
    bytes[at + PduAt.HLEN] = PduHlen.CapsuleCmd;
    bytes[at + PduAt.PDO] = op === "write" ? PduHlen.CapsuleCmd : 0;
    view.setUint32(at + PduAt.PLEN, stride, true);
    bytes[sqe + SqeAt.OPC] = op === "read" ? NvmOpcode.READ : NvmOpcode.WRITE;
    bytes[sqe + SqeAt.FLAGS] = SQE_FLAGS_PSDT_SGL;
    view.setUint16(sqe + SqeAt.CID, command, true);
    view.setUint32(sqe + SqeAt.NSID, 1, true);
    view.setUint32(sqe + SqeAt.SGL1 + SglAt.LENGTH, BLOCK_BYTES, true);
    bytes[sqe + SqeAt.SGL1 + SglAt.IDENTIFIER] = op === "read"
      ? SglIdentifier.TRANSPORT_DATA_BLOCK
      : SglIdentifier.DATA_BLOCK_OFFSET;
  }
  return { bytes, view, stride };
}

/** Other blocks each time. */
function changeCapsules({ view, stride }: Capsules, random: Prng): void {
  for (let command = 0; command < BATCH; command++) {
    view.setUint32(command * stride + CapsuleCmdAt.SQE + SqeAt.CDW10, random.below(BLOCKS), true);
  }
}

function receive(memory: Uint8Array, connection: TargetConnection, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    connection.prepareReceive();
    const { segments, offset, bytes: room } = connection.receiveBuffer;
    let got = 0;
    for (let piece = 0; piece < segments && at + got < bytes.length; piece++) {
      const part = bytes.subarray(at + got, at + got + room[piece]!);
      memory.set(part, offset[piece]!);
      got += part.length;
    }
    connection.handleReceived(got);
    at += got;
    if (connection.failure !== null) throw new Error(connection.failure.reason);
  }
}

function send(connection: TargetConnection): void {
  const buffer = connection.sendBuffer;
  while (connection.pollSend()) {
    let bytes = 0;
    for (let piece = 0; piece < buffer.segments; piece++) bytes += buffer.segmentBytes(piece);
    connection.handleSent(bytes);
  }
}
