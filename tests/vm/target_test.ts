/** `umpath serve` as foreign hosts see it: the kernel's own initiator with native multipath, and nvme-cli. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { KERNEL_HOST_NQN, NQN, PORTS } from "./attached.ts";
import { withFilesystem, writeFiles } from "./filesystem.ts";
import { eventually, fio, kernelConnect, type KernelConnection, namespaceDevices, nvmeJson, run } from "./harness.ts";
import { loadErrors, mixedLoad, newSeed, smallLoad, underLoad } from "./load.ts";
import { kernelBytes, ServedTarget, waitAnaStates } from "./served_target.ts";
import { vmTest } from "./vm_case.ts";

const MIB = 1 << 20;
const HOST_ID = "0b6b2d4e-7a51-4f0b-8c76-2f8f3c1f9a10";
const OTHER_HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:0d9f4d7c-54b8-4d5f-8d1a-6d4c4e6a7b21";
/** The machine is slow: its keep-alives may be late, its reconnects need not be. */
const QUICK = ["--reconnect-delay=1", "--keep-alive-tmo=15", "--ctrl-loss-tmo=120"];
const DIGESTS = ["--hdr-digest", "--data-digest"];
const STATE_MS = 60_000;

/** Serves NQN behind both ports while `body` runs. */
function serve(...words: string[]): Promise<ServedTarget> {
  return ServedTarget.start({ nqn: NQN, ports: PORTS, ...(words.length > 0 ? { words } : {}) });
}

/** The kernel's connection over both ports, ended whatever happens. */
async function connected(
  extra: string[],
  body: (kernel: KernelConnection) => Promise<void>,
): Promise<void> {
  const kernel = await kernelConnect(NQN, PORTS, KERNEL_HOST_NQN, [...QUICK, ...extra]);
  try {
    await kernel.setPolicy("round-robin");
    await body(kernel);
  } finally {
    await kernel.disconnect();
  }
}

function waitStates(kernel: KernelConnection, states: string[]): Promise<unknown> {
  return eventually(async () => {
    const now = await kernel.states();
    if (now.join() === states.join()) return true;
    throw new Error(`controllers are ${now.join()}, not ${states.join()}`);
  }, STATE_MS);
}

vmTest("nvme-cli reads Identify, logs and features, and they say what is served", { daemon: "own" }, async () => {
  await using _target = await serve("--ram", "64M", "--block-size", "4096");
  await connected([], async ({ device }) => {
    const controller = await nvmeJson("id-ctrl", device);
    assertEquals(controller.subnqn, NQN);
    assertEquals(controller.nn >= 1, true);
    assertEquals(controller.cmic & 0b1010, 0b1010, "several controllers, with ANA");
    assertEquals(controller.oncs & 0b1101, 0b1101, "compare, dataset management, write zeroes");
    const namespace = await nvmeJson("id-ns", device);
    assertEquals([namespace.nsze, namespace.nmic], [64 * MIB / 4096, 1]);
    assertEquals(namespace.lbafs[namespace.flbas & 15].ds, 12);
    const names = JSON.stringify(await nvmeJson("ns-descs", device));
    assertMatch(names, /uuid/);
    assertMatch(names, /nguid/);
    const ana = JSON.stringify(await nvmeJson("ana-log", device));
    assertMatch(ana, /optimized/);
    await run("dd", [`if=${device}`, "of=/dev/null", "bs=1M", "count=8", "iflag=direct"], { check: true });
    const health = await nvmeJson("smart-log", device);
    assert(Number(health.host_read_commands) >= 8, JSON.stringify(health));
    assert(Number(health.data_units_read) >= 8 * MIB / 512_000, JSON.stringify(health));
    assertEquals(health.critical_warning, 0);
    for (const what of ["error-log", "fw-log", "supported-log-pages", "list-ns"]) {
      await run("nvme", [what, device], { check: true });
    }
    // Some releases of nvme-cli do not even ask for this one on a fabric, and say nothing.
    const effects = await run("nvme", ["get-log", device, "-i", "5", "-l", "4096"], { check: true });
    assertMatch(effects.stdout, /0000: 00 00 00 00 00 00 00 00 01 00 00 00/);
    for (const feature of ["0x07", "0x0b", "0x0f"]) {
      await run("nvme", ["get-feature", device, "-f", feature], { check: true });
    }
    // Memory has no volatile write cache, and so there is no such feature.
    assertEquals(controller.vwc & 1, 0);
    const cache = await run("nvme", ["get-feature", device, "-f", "0x06"]);
    assertNotEquals(cache.code, 0);
    assertMatch(cache.stdout + cache.stderr, /Invalid Field/);
  });
});

vmTest("nvme-cli's I/O commands do what they say: write, compare, write zeroes, deallocate, flush", {
  daemon: "own",
}, async () => {
  await using _target = await serve("--ram", "64M", "--block-size", "4096");
  await connected([], async ({ device }) => {
    const file = await Deno.makeTempFile({ dir: "/run" });
    const bytes = crypto.getRandomValues(new Uint8Array(4096));
    await Deno.writeFile(file, bytes);
    const at = ["-s", "7", "-c", "0", "-z", "4096", "-d", file];
    await run("nvme", ["write", device, ...at], { check: true });
    await run("nvme", ["compare", device, ...at], { check: true });
    await run("nvme", ["flush", device, "-n", "1"], { check: true });
    const back = await Deno.makeTempFile({ dir: "/run" });
    await run("nvme", ["read", device, "-s", "7", "-c", "0", "-z", "4096", "-d", back], { check: true });
    assertEquals(await Deno.readFile(back), bytes);
    await run("nvme", ["write-zeroes", device, "-n", "1", "-s", "7", "-c", "0"], { check: true });
    const compared = await run("nvme", ["compare", device, ...at]);
    assertNotEquals(compared.code, 0);
    assertMatch(compared.stdout + compared.stderr, /compar/i);
    await run("nvme", ["dsm", device, "-n", "1", "--ad", "-s", "0,16", "-b", "8,8"], { check: true });
    await Promise.all([Deno.remove(file), Deno.remove(back)]);
  });
});

for (const [words, extra] of [["without digests", []], ["with header and data digests", DIGESTS]] as const) {
  vmTest(`fio verifies 4k-512k over both paths ${words}`, { daemon: "own" }, async () => {
    await using _target = await serve();
    await connected([...extra], async ({ device }) => {
      const { code, jobs, stderr } = await fio(mixedLoad(device, newSeed()));
      assertEquals([code, ...jobs.map((job) => job.error)], [0, 0], stderr);
    });
  });
}

vmTest("a resize is seen through an event", { daemon: "own" }, async () => {
  await using target = await serve();
  await connected([], async ({ device }) => {
    assertEquals(kernelBytes(device), 64 * MIB);
    await target.control("resize", "1", "128M");
    await eventually(() => kernelBytes(device) === 128 * MIB, STATE_MS);
    const end = ["bs=1M", "seek=127", "count=1", "oflag=direct"];
    await run("dd", ["if=/dev/urandom", `of=${device}`, ...end], { check: true });
    await target.control("resize", "1", "32M", "--shrink");
    await eventually(() => kernelBytes(device) === 32 * MIB, STATE_MS);
  });
});

vmTest("ANA states flipped under load: the kernel follows and nothing is lost", { daemon: "own" }, async () => {
  await using target = await serve();
  const [first, second] = PORTS.map(({ addr, port }) => ({ addr, words: `${addr}:${port}` }));
  await connected([], async ({ device }) => {
    const results = await underLoad(smallLoad(device, newSeed()), async () => {
      await target.control("ana", first!.words, "inaccessible");
      await waitAnaStates(NQN, { [first!.addr]: "inaccessible", [second!.addr]: "optimized" });
      await target.control("ana", first!.words, "optimized");
      await target.control("ana", second!.words, "non-optimized");
      await waitAnaStates(NQN, { [first!.addr]: "optimized", [second!.addr]: "non-optimized" });
      await target.control("ana", first!.words, "non-optimized");
      await target.control("ana", second!.words, "inaccessible");
      await waitAnaStates(NQN, { [first!.addr]: "non-optimized", [second!.addr]: "inaccessible" });
      for (const { words } of [first!, second!]) await target.control("ana", words, "optimized");
      await waitAnaStates(NQN, { [first!.addr]: "optimized", [second!.addr]: "optimized" });
    });
    assertEquals(loadErrors(results), []);
  });
});

vmTest("a listener killed under load and back: the kernel goes on over the other and reconnects", {
  daemon: "own",
}, async () => {
  await using target = await serve();
  const { addr, port } = PORTS[1]!;
  await connected([], async (kernel) => {
    const results = await underLoad(smallLoad(kernel.device, newSeed()), async () => {
      await target.control("listener", "remove", `${addr}:${port}`);
      await waitStates(kernel, ["live", "connecting"]);
      await target.control("listener", "add", `${addr}:${port}`);
      await waitStates(kernel, ["live", "live"]);
    });
    assertEquals(loadErrors(results), []);
  });
});

vmTest("xfs on a served file outlives a target that is killed and started again", { daemon: "own" }, async () => {
  const file = await Deno.makeTempFile({ dir: "/run", suffix: ".img" });
  await Deno.truncate(file, 400 * MIB);
  try {
    await using target = await serve(file);
    await connected([], async (kernel) => {
      let sums = "";
      await withFilesystem("xfs", kernel.device, async (folder) => {
        sums = await writeFiles(folder, newSeed());
        await target.kill();
        await waitStates(kernel, ["connecting", "connecting"]);
        await target.start();
        await waitStates(kernel, ["live", "live"]);
        await run("sh", ["-c", `cd ${folder} && sha256sum -c --quiet`], { check: true, input: sums });
        await writeFiles(folder, newSeed()).then((text) => sums = text);
      }, { make: true });
      await withFilesystem("xfs", kernel.device, async (folder) => {
        await run("sh", ["-c", `cd ${folder} && sha256sum -c --quiet`], { check: true, input: sums });
      });
    });
  } finally {
    await Deno.remove(file);
  }
});

vmTest("several namespaces of both block sizes, one of them read-only", { daemon: "own" }, async () => {
  const ram = (words: string) => ["--namespace", `ram=16M,${words}`];
  await using _target = await serve(...ram("nsid=1,bs=512"), ...ram("nsid=2,bs=4096"), ...ram("nsid=5,bs=4096,ro"));
  await connected([], async () => {
    const devices = await eventually(async () => {
      const found = await namespaceDevices(NQN);
      return found.length === 3 ? found : undefined;
    }, STATE_MS);
    const attribute = (device: string, name: string) =>
      Number(Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/${name}`));
    const shapes = devices.map((device) => [attribute(device, "queue/logical_block_size"), attribute(device, "ro")]);
    assertEquals(shapes, [[512, 0], [4096, 0], [4096, 1]]);
    const options = {
      rw: "randrw",
      bsrange: "512-64k",
      iodepth: 16,
      size: "8m",
      verify: "crc32c",
      randseed: newSeed(),
    };
    const { code, stderr } = await fio({ ...options, filename: devices[0]!, serialize_overlap: 1 });
    assertEquals(code, 0, stderr);
    const refused = await run("dd", ["if=/dev/zero", `of=${devices[2]}`, "bs=4096", "count=1", "oflag=direct"]);
    assertNotEquals(refused.code, 0);
  });
});

vmTest(
  "a host that is not allowed finds nothing and is refused; the allowed one is not",
  { daemon: "own" },
  async () => {
    await using _target = await serve("--ram", "16M", "--allow-host", KERNEL_HOST_NQN);
    await run("modprobe", ["nvme-tcp"], { check: true });
    const portal = ["-t", "tcp", "-a", PORTS[0]!.addr, "-s", String(PORTS[0]!.port)];
    const other = ["-q", OTHER_HOST_NQN, "-I", HOST_ID];
    const seen = await run("nvme", ["discover", ...portal, ...other]);
    assert(!seen.stdout.includes(NQN), seen.stdout);
    const refused = await run("nvme", ["connect", ...portal, "-n", NQN, ...other]);
    assertNotEquals(refused.code, 0);
    await connected([], async ({ states }) => {
      assertEquals(await states(), ["live", "live"]);
      await Promise.resolve();
    });
  },
);
