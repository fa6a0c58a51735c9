/** Namespaces that change under an attached volume: other sizes reach the kernel device, other namespaces do not. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { VolumeInfo } from "../../src/rpc/host_api.ts";
import { delay } from "./host/host_fixture.ts";
import { Cli, type Result, until } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { Served, type ServedPortal } from "./served.ts";

const NQN = "nqn.2026-11.io.test:size";
const UUID = "5a3c1c1e-0000-4000-8000-000000000001";
const OTHER_UUID = "5a3c1c1e-0000-4000-8000-00000000beef";
const HOST = [
  "--hostnqn",
  "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100",
  "--hostid",
  "0f0e0d0c-0b0a-4908-8706-050403020100",
];
const MIB = 1 << 20;

interface What {
  backend?: string;
  uuid?: string;
  at?: readonly ServedPortal[];
}

function serve(cli: Cli, { backend = "ram=16M", uuid = UUID, at }: What = {}): Promise<Served> {
  return Served.start(cli, { nqn: NQN, words: ["--namespace", `${backend},uuid=${uuid}`], ...(at ? { at } : {}) });
}

async function attach(cli: Cli, { portals }: Served, ...words: string[]): Promise<string> {
  const paths = portals.flatMap((portal) => ["-p", portal.words]);
  const result = await cli.run("attach", NQN, ...paths, ...HOST, "--reconnect-delay", "50ms", ...words);
  assertDone(result);
  return result.stdout.trim();
}

function assertDone(result: Result): void {
  assertEquals(result.code, 0, result.stderr);
}

async function volume(cli: Cli): Promise<VolumeInfo> {
  return JSON.parse((await cli.run("list", "--json")).stdout).volumes[0];
}

/** Waits until the volume is as it should be, at most 10 s. */
async function volumeWhen(cli: Cli, holds: (volume: VolumeInfo) => boolean, what: string): Promise<VolumeInfo> {
  for (const end = Date.now() + 10_000;;) {
    const info = await volume(cli);
    if (holds(info)) return info;
    assert(Date.now() < end, `Still not ${what}: ${JSON.stringify(info)}`);
    await delay(20);
  }
}

/** Takes the volume away if the test has not come as far: a loop device must not outlive its daemon. */
function forcedEnd(cli: Cli): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      if (cli.daemonPid() !== null) await cli.run("detach", "--all", "--force");
    },
  };
}

async function detachAll(cli: Cli): Promise<void> {
  assertDone(await cli.run("detach", "--all"));
  await until(() => cli.daemonPid() === null);
  assertEquals(cli.daemonPid(), null);
}

/** The device's size in bytes, as the kernel has it. */
function kernelBytes(device: string): number {
  return Number(Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/size`)) * 512;
}

/** Resizes the namespace and waits until the kernel's device has its size. */
async function resize(served: Served, device: string, bytes: number): Promise<void> {
  assertDone(await served.target("resize", "1", `${bytes / MIB}M`, "--shrink"));
  await until(() => kernelBytes(device) === bytes);
  assertEquals(kernelBytes(device), bytes);
}

/** Reads or writes a MiB with direct I/O. */
async function dd(device: string, { mib, write = false }: { mib: number; write?: boolean }): Promise<Result> {
  const ends = write
    ? ["if=/dev/zero", `of=${device}`, `seek=${mib}`]
    : [`if=${device}`, "of=/dev/null", `skip=${mib}`];
  const flag = write ? "oflag=direct" : "iflag=direct";
  await using cli = new Cli();
  return await cli.runProgram(["dd", ...ends, flag, "bs=1M", "count=1"]);
}

Deno.test("umpath list shows the size that the namespace has by now", async () => {
  await using cli = new Cli();
  await using served = await serve(cli);
  await attach(cli, served, "--device", "none");
  for (const mib of [64, 8, 16]) {
    assertDone(await served.target("resize", "1", `${mib}M`, "--shrink"));
    const { state, sizeWarning } = await volumeWhen(cli, (volume) => volume.sizeBytes === mib * MIB, `${mib} MiB`);
    assertEquals([state, sizeWarning], ["live", null]);
    assertMatch((await cli.run("list")).stdout, new RegExp(` ${mib} MiB  live`));
    assertMatch((await cli.run("show")).stdout, new RegExp(`size +${mib} MiB in blocks`));
  }
  assertMatch(Deno.readTextFileSync(`${cli.runDir}/daemon.log`), /SHRUNK from 64 MiB to 8 MiB/);
  await detachAll(cli);
});

loopTest("a loop device grows and shrinks with its namespace, while it is written to", async () => {
  await using cli = new Cli();
  await using served = await serve(cli);
  await using _end = forcedEnd(cli);
  const device = await attach(cli, served, "--device", "loop");
  let isOver = false;
  let writes = 0;
  const load = (async (): Promise<void> => {
    while (!isOver) {
      assertDone(await cli.runProgram(["dd", "if=/dev/zero", `of=${device}`, "bs=4k", "count=2000", "oflag=direct"]));
      writes++;
    }
  })();
  load.catch(() => {});
  try {
    for (const mib of [32, 128, 12, 64]) {
      await resize(served, device, mib * MIB);
      assertDone(await dd(device, { mib: mib - 1 }));
      assertDone(await dd(device, { mib: mib - 1, write: true }));
      assertEquals((await dd(device, { mib, write: true })).code, 1, "beyond the end");
    }
  } finally {
    isOver = true;
  }
  await load;
  assert(writes > 0);
  assertEquals((await volume(cli)).sizeBytes, 64 * MIB);
  await detachAll(cli);
});

loopTest(
  "another namespace in the place of the volume's is never used: its paths end, and I/O fails at once",
  async () => {
    await using cli = new Cli();
    const file = `${cli.folder}/other.img`;
    Deno.writeFileSync(file, new Uint8Array(16 * MIB).fill(0xaa));
    await using first = await serve(cli);
    const at = first.portals;
    await using _end = forcedEnd(cli);
    const device = await attach(cli, first, "--device", "loop");
    assertDone(await dd(device, { mib: 0, write: true }));
    await first.end();
    {
      await using _other = await serve(cli, { backend: file, uuid: OTHER_UUID, at });
      const info = await volumeWhen(cli, ({ paths }) => paths.every((path) => path.state === "disabled"), "refused");
      assertEquals(info.state, "no-path");
      for (const { reason } of info.paths) assertMatch(reason!, /another namespace: its UUID is .*beef, not .*0001$/);
      const { stdout } = await cli.run("show");
      assertStringIncludes(stdout, "disabled: it leads to another namespace");
      const failed = await dd(device, { mib: 0, write: true });
      assertMatch(failed.stderr, /Input\/output error/);
      assert(failed.seconds < 50, `${failed.seconds} s`);
      const paths = at.flatMap((portal) => ["-p", portal.words]);
      const again = await cli.run("attach", NQN, ...paths, ...HOST);
      assertEquals([again.code, again.stdout], [5, ""], again.stderr);
      assertMatch(
        Deno.readTextFileSync(`${cli.runDir}/daemon.log`),
        / error .*no path leads to its namespace any more/,
      );
    }
    assert(Deno.readFileSync(file).every((byte) => byte === 0xaa), "the other namespace was written to");
    await using right = await serve(cli, { at });
    assertEquals(await attach(cli, right), device);
    assertDone(await dd(device, { mib: 0 }));
    assertDone(await dd(device, { mib: 15, write: true }));
    await detachAll(cli);
  },
);
