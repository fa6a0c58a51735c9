/** The kernel device as the kernel sees it, and every kind of request that it can make. */
import { assert, assertEquals } from "@std/assert";
import { fio, kernelConnect, run } from "./harness.ts";
import { AttachedVolume, KERNEL_HOST_NQN, makeTarget, NQN, PORTS } from "./attached.ts";
import { limitedTransfer } from "./identify_data.ts";
import { loadErrors, mixedLoad, newSeed } from "./load.ts";
import { PduProxy } from "./pdu_proxy.ts";
import { withFilesystem, writeFiles } from "./filesystem.ts";
import { vmTest } from "./vm_case.ts";

const DETOUR = { addr: "127.0.0.3", port: 4420 };

/** A queue attribute of a block device. */
function queueOf(device: string, attribute: string): string {
  return Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/queue/${attribute}`).trim();
}

/** Attributes in which umpath's device and the kernel's own of the same namespace are to agree. */
const SAME_ATTRIBUTES = [
  "logical_block_size",
  "physical_block_size",
  "minimum_io_size",
  "discard_granularity",
  "rotational",
  "write_cache",
  "fua",
];

for (const blockSize of [512, 4096] as const) {
  vmTest(`a namespace of ${blockSize}-byte blocks becomes a device like the kernel's own`, {}, async () => {
    const seed = newSeed();
    await using _target = await makeTarget({ blockSize, sizeMiB: 20 });
    await using volume = await AttachedVolume.attach();
    const { device } = volume;
    const kernel = await kernelConnect(NQN, PORTS, KERNEL_HOST_NQN);
    try {
      const own = Object.fromEntries(SAME_ATTRIBUTES.map((name) => [name, queueOf(device, name)]));
      assertEquals(own, Object.fromEntries(SAME_ATTRIBUTES.map((name) => [name, queueOf(kernel.device, name)])));
      assertEquals(queueOf(device, "logical_block_size"), String(blockSize));
      assert(Number(queueOf(device, "max_sectors_kb")) >= 512, queueOf(device, "max_sectors_kb"));
      assert(Number(queueOf(device, "discard_max_bytes")) > 0);
      assert(Number(queueOf(device, "write_zeroes_max_bytes")) > 0);
      for (const option of ["--getsize64", "--getro"]) {
        const [umpathSays, kernelSays] = await Promise.all(
          [device, kernel.device].map((path) => blockdev(option, path)),
        );
        assertEquals(umpathSays, kernelSays, option);
      }

      // Each initiator writes to its own half and sees what the other has written.
      const sizes = { bsrange: `${blockSize}-192k`, size: "8m" } as const;
      const ofUmpath = { ...mixedLoad(device, seed), ...sizes };
      const ofKernel = { ...mixedLoad(kernel.device, seed + 1), ...sizes, offset: "8m" };
      assertEquals(loadErrors(await Promise.all([fio(ofUmpath), fio(ofKernel)])), []);
      await assertSameContent(device, kernel.device);
    } finally {
      await kernel.disconnect();
    }
  });
}

vmTest("discard, write zeroes, FUA and flush do what they say", {}, async () => {
  await using _target = await makeTarget({ sizeMiB: 32 });
  await using volume = await AttachedVolume.attach();
  const { device } = volume;
  await run("sh", ["-c", `yes pattern | dd of=${device} bs=1M count=16 iflag=fullblock oflag=direct status=none`], {
    check: true,
  });
  await run("blkdiscard", ["-o", "1MiB", "-l", "1MiB", device], { check: true });
  await assertZeroes(device, { offsetMiB: 1, otherwiseFrom: 0 });
  await run("blkdiscard", ["-z", "-o", "3MiB", "-l", "1MiB", device], { check: true });
  await assertZeroes(device, { offsetMiB: 3, otherwiseFrom: 4 });
  await run("fallocate", ["-p", "-o", "5MiB", "-l", "1MiB", device], { check: true });
  await assertZeroes(device, { offsetMiB: 5, otherwiseFrom: 6 });
  await run("fallocate", ["-z", "-n", "-o", "7MiB", "-l", "1MiB", device], { check: true });
  await assertZeroes(device, { offsetMiB: 7, otherwiseFrom: 8 });
  // Larger than what one deallocation or one Write Zeroes takes, and the whole device.
  await run("blkdiscard", ["-z", device], { check: true });
  await run("blkdiscard", [device], { check: true });
  await assertZeroes(device, { offsetMiB: 15, otherwiseFrom: null });

  const synced = { filename: device, rw: "randwrite", bs: "4k", size: "2m", sync: 1, iodepth: 4, verify: "crc32c" };
  assertEquals(loadErrors([await fio(synced)]), []);
  assertEquals(loadErrors([await fio({ ...synced, sync: 0, fdatasync: 4 })]), []);
  const trimmed = { filename: device, rw: "randtrimwrite", bs: "64k", size: "8m", iodepth: 8 };
  assertEquals(loadErrors([await fio(trimmed)]), []);
  const { paths } = await volume.info();
  assertEquals(paths.map((path) => path.errors), [0, 0]);
});

vmTest("a read-only volume refuses writes of every kind and serves reads", {}, async () => {
  await using _target = await makeTarget({ sizeMiB: 20 });
  await using volume = await AttachedVolume.attach({ readOnly: true });
  const { device } = volume;
  assertEquals((await volume.info()).readOnly, true);
  assertEquals(await blockdev("--getro", device), "1");
  for (
    const [command, ...args] of [
      ["dd", "if=/dev/zero", `of=${device}`, "bs=4k", "count=1", "oflag=direct"],
      ["blkdiscard", device],
      ["blkdiscard", "-z", device],
    ]
  ) {
    const result = await run(command!, args);
    assert(result.code !== 0, `${command} ${args.join(" ")} succeeded`);
  }
  // An administrator who makes the kernel device writable is still refused.
  await run("blockdev", ["--setrw", device]);
  const forced = await run("dd", ["if=/dev/zero", `of=${device}`, "bs=4k", "count=1", "oflag=direct"]);
  assert(forced.code !== 0, "a write went through after blockdev --setrw");
  await run("dd", [`if=${device}`, "of=/dev/null", "bs=512K", "count=8", "iflag=direct"], { check: true });
});

vmTest("requests larger than the controller's MDTS are split", {}, async () => {
  const largest = { bytes: 0 };
  const transferBytes = 2 ** 3 * 4096;
  const onAnswer = limitedTransfer(NQN, 3);
  const onCommand = (pdu: Uint8Array) => largest.bytes = Math.max(largest.bytes, readOrWriteBytes(pdu));
  await using _target = await makeTarget();
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[0]!, onAnswer, onCommand });
  await using volume = await AttachedVolume.attach({ ports: [DETOUR] });
  assert(Number(queueOf(volume.device, "max_sectors_kb")) >= 512);
  assertEquals(loadErrors([await fio({ ...mixedLoad(volume.device, newSeed()), size: "24m" })]), []);
  assertEquals(largest.bytes, transferBytes, "the largest command that the target saw");
});

vmTest("paths whose controllers take transfers of different sizes serve the same requests", {}, async () => {
  await using _target = await makeTarget();
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]!, onAnswer: limitedTransfer(NQN, 1) });
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!, DETOUR] });
  assertEquals(loadErrors([await fio({ ...mixedLoad(volume.device, newSeed()), size: "24m" })]), []);
  assertEquals((await volume.info()).paths.map((path) => path.writes > 0), [true, true]);
});

vmTest("a single queue of depth 1 and deep queues both serve", {}, async () => {
  await using _target = await makeTarget();
  for (const shape of [{ queues: 1, depth: 1 }, { queues: 2, depth: 1024 }]) {
    await using volume = await AttachedVolume.attach(shape);
    const { queues, depth } = await volume.info();
    assertEquals({ queues, depth }, shape);
    assertEquals(loadErrors([await fio({ ...mixedLoad(volume.device, newSeed()), size: "12m" })]), []);
  }
});

vmTest("xfs keeps its files over a remount", {}, async () => {
  await using _target = await makeTarget({ sizeMiB: 320 });
  await using volume = await AttachedVolume.attach();
  let sums = "";
  await withFilesystem("xfs", volume.device, async (folder) => sums = await writeFiles(folder, newSeed()), {
    make: true,
  });
  await withFilesystem("xfs", volume.device, async (folder) => {
    await run("sh", ["-c", `cd ${folder} && sha256sum --quiet -c -`], { input: sums, check: true });
    await run("fstrim", [folder], { check: true });
  });
});

async function blockdev(option: string, device: string): Promise<string> {
  return (await run("blockdev", [option, device], { check: true })).stdout.trim();
}

/** Compares without what the page cache of either device remembers. */
async function assertSameContent(device: string, other: string): Promise<void> {
  for (const path of [device, other]) await run("blockdev", ["--flushbufs", path], { check: true });
  await run("cmp", [device, other], { check: true });
}

/** The mebibyte at `offsetMiB` is zeroes; the one at `otherwiseFrom` is not. */
async function assertZeroes(device: string, where: { offsetMiB: number; otherwiseFrom: number | null }): Promise<void> {
  const digest = async (offsetMiB: number) => {
    const line = `dd if=${device} bs=1M skip=${offsetMiB} count=1 iflag=direct status=none | tr -d '\\0' | wc -c`;
    return Number((await run("sh", ["-c", line], { check: true })).stdout);
  };
  assertEquals(await digest(where.offsetMiB), 0, `there is data at ${where.offsetMiB} MiB`);
  if (where.otherwiseFrom === null) return;
  assertEquals(await digest(where.otherwiseFrom), 1 << 20, `data is missing at ${where.otherwiseFrom} MiB`);
}

/** Bytes of a Read or Write of 4096-byte blocks in a command capsule; 0 for any other PDU. */
function readOrWriteBytes(pdu: Uint8Array): number {
  const [CAPSULE, SQE_AT, FABRICS] = [4, 8, 0x7f];
  const opcode = pdu[SQE_AT]!;
  const isIo = pdu[0] === CAPSULE && opcode !== FABRICS && (opcode === 1 || opcode === 2) && isIoRead(pdu);
  if (!isIo) return 0;
  return (new DataView(pdu.buffer, pdu.byteOffset).getUint16(SQE_AT + 48, true) + 1) * 4096;
}

/** Opcodes 1 and 2 mean other things on the admin queue (Create Queue, Get Log Page): only I/O is about namespace 1. */
function isIoRead(pdu: Uint8Array): boolean {
  return new DataView(pdu.buffer, pdu.byteOffset).getUint32(8 + 4, true) === 1;
}
