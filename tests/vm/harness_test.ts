import { assert, assertEquals } from "@std/assert";
import { dmesgMark, dmesgProblems, eventually, fio, kernelConnect } from "./harness.ts";
import { NvmetTarget } from "./nvmet.ts";

const NQN = "nqn.2026-11.io.test:harness";
const PORTS = [{ addr: "127.0.0.1", port: 4420 }, { addr: "127.0.0.2", port: 4420 }];

for (const blockSize of [512, 4096] as const) {
  Deno.test(`NvmetTarget serves the kernel initiator over two ports with ${blockSize}-byte blocks`, async () => {
    const mark = await dmesgMark();
    await using target = await NvmetTarget.create({
      nqn: NQN,
      ports: PORTS,
      namespaces: [{ nsid: 1, sizeMiB: 64, blockSize }],
    });
    const kernel = await kernelConnect(NQN, PORTS, "nqn.2014-08.org.nvmexpress:uuid:harness", [
      "--reconnect-delay=1",
    ]);
    try {
      await kernel.setPolicy("round-robin");
      assertEquals(await kernel.states(), ["live", "live"]);

      const load = fio({
        filename: kernel.device,
        rw: "randrw",
        bs: "4k",
        iodepth: 16,
        size: "16m",
        io_size: "24m",
        verify: "crc32c",
        serialize_overlap: 1,
      });
      await eventually(() => writesTo(kernel.device) > 100, 20_000);
      await target.removePort(1);
      await eventually(async () => (await kernel.states())[1] === "connecting", 20_000);
      await target.restorePort(1);
      await eventually(async () => (await kernel.states())[1] === "live", 20_000);
      const result = await load;
      assertEquals(result.code, 0, result.stderr);
      assert(result.jobs[0]!.write.total_ios > 0);

      await target.destroyPort(0);
      await eventually(async () => (await kernel.states())[0] === "connecting", 20_000);
      await target.restorePort(0);
      await eventually(async () => (await kernel.states())[0] === "live", 20_000);
    } finally {
      await kernel.disconnect();
    }
    assertEquals(await dmesgProblems(mark), []);
  });
}

Deno.test("NvmetTarget.close() leaves nothing in the kernel's configuration", async () => {
  const target = await NvmetTarget.create({
    nqn: NQN,
    ports: PORTS,
    namespaces: [
      { nsid: 1, sizeMiB: 16, blockSize: 512, uuid: "7f3f1a3e-0a3b-4a57-9d38-0c5f0f4f2a11" },
      { nsid: 2, sizeMiB: 16, blockSize: 4096, nguid: "0102030405060708090a0b0c0d0e0f10", anaGroup: 2 },
    ],
    allowedHosts: ["nqn.2014-08.org.nvmexpress:uuid:one"],
  });
  await target.setAnaState(0, 2, "non-optimized");
  await target.setAnaState(1, 3, "inaccessible");
  await target.disableNamespace(1);
  await target.removePort(1);
  await target.destroyPort(0);
  await target.close();
  for (const folder of ["nvmet/subsystems", "nvmet/ports", "nvmet/hosts", "nullb"]) {
    assertEquals(foldersIn(`/sys/kernel/config/${folder}`), [], folder);
  }
});

Deno.test("NvmetTarget.create() removes what it made when it fails half-way", async () => {
  let message = "";
  try {
    await NvmetTarget.create({
      nqn: NQN,
      ports: [PORTS[0]!, { addr: "not an address", port: 4420 }],
      namespaces: [{ nsid: 1, sizeMiB: 16, blockSize: 512 }],
    });
  } catch (error) {
    message = (error as Error).message;
  }
  assert(message !== "", "create() accepted a bad address");
  for (const folder of ["nvmet/subsystems", "nvmet/ports", "nullb"]) {
    assertEquals(foldersIn(`/sys/kernel/config/${folder}`), [], folder);
  }
});

/** Write requests that a block device has completed. */
function writesTo(device: string): number {
  const stat = Deno.readTextFileSync(device.replace("/dev/", "/sys/block/") + "/stat");
  return Number(stat.trim().split(/\s+/)[4]);
}

function foldersIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter((entry) => entry.isDirectory).map((entry) => entry.name);
}
