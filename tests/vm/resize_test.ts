/** Namespaces of the kernel's target that change their size under a ublk device; and the discovery service of the target. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AttachedVolume, HOST_NQN, NQN, PORTS, UUID } from "./attached.ts";
import { eventually, run, umpath } from "./harness.ts";
import { NvmetTarget } from "./nvmet.ts";
import { kernelBytes } from "./served_target.ts";
import { vmTest } from "./vm_case.ts";

const MIB = 1 << 20;
const HOST_ID = "5c0f1d0a-29c5-4b5c-9a4f-0d8e7c1b2a31";
const RESIZE_MS = 60_000;

/** UPDATE_SIZE came with Linux 6.16. */
function canResize(): boolean {
  const [major, minor] = Deno.osRelease().split(".").map(Number);
  return major! > 6 || (major === 6 && minor! >= 16);
}

/** A target whose namespace is a file, while `body` runs. */
async function withFile(body: (target: NvmetTarget, file: string) => Promise<void>): Promise<void> {
  const file = await Deno.makeTempFile({ prefix: "umpath-resize-" });
  try {
    await Deno.truncate(file, 64 * MIB);
    const namespaces = [{ nsid: 1, sizeMiB: 64, blockSize: 4096 as const, uuid: UUID, file }];
    await using target = await NvmetTarget.create({ nqn: NQN, ports: PORTS, namespaces });
    await body(target, file);
  } finally {
    await Deno.remove(file);
  }
}

async function resize(target: NvmetTarget, file: string, bytes: number): Promise<void> {
  await Deno.truncate(file, bytes);
  await target.revalidateSize(1);
}

async function waitVolumeBytes(volume: AttachedVolume, bytes: number): Promise<void> {
  await eventually(async () => (await volume.info()).sizeBytes === bytes, RESIZE_MS);
}

async function dd(device: string, mib: number, write: boolean): Promise<number> {
  const ends = write
    ? ["if=/dev/zero", `of=${device}`, `seek=${mib}`]
    : [`if=${device}`, "of=/dev/null", `skip=${mib}`];
  const flag = write ? "oflag=direct" : "iflag=direct";
  return (await run("dd", [...ends, flag, "bs=1M", "count=1"])).code;
}

vmTest("a ublk device grows and shrinks with its namespace where the driver can, and umpath show says so where not", {
  // Where the device keeps its size, I/O beyond the end of the namespace fails, and the kernel tells of it.
  allow: [/I\/O error,? (on )?dev(ice)? ublkb\d/],
}, async () => {
  await withFile(async (target, file) => {
    await using volume = await AttachedVolume.attach();
    const { device } = volume;
    assertEquals(kernelBytes(device), 64 * MIB);
    for (const mib of [96, 32]) {
      await resize(target, file, mib * MIB);
      await waitVolumeBytes(volume, mib * MIB);
      assertEquals(await dd(device, 31, true), 0);
      if (canResize()) {
        await eventually(() => kernelBytes(device) === mib * MIB, RESIZE_MS);
        assertEquals((await volume.info()).sizeWarning, null);
        assertEquals(await dd(device, mib - 1, true), 0);
      } else {
        await eventually(async () => (await volume.info()).sizeWarning !== null, RESIZE_MS);
        assertEquals(kernelBytes(device), 64 * MIB);
        const { stdout } = await umpath("show", volume.name);
        assertStringIncludes(stdout, `Cannot resize ${device}: this kernel's ublk driver cannot`);
      }
      assertEquals((await volume.info()).state, "live");
    }
    assert(await dd(device, 32, true) !== 0, "a write beyond the end fails");
    if (!canResize()) assert(await dd(device, 32, false) !== 0, "so does a read");
  });
});

vmTest("umpath discover tells what nvme discover does, and follows the referral to the other port", {}, async () => {
  const namespaces = [{ nsid: 1, sizeMiB: 16, blockSize: 512 as const, uuid: UUID }];
  await using target = await NvmetTarget.create({ nqn: NQN, ports: PORTS, namespaces });
  await target.addReferral(0, PORTS[1]!);
  await run("modprobe", ["nvme-tcp"], { check: true });
  const [first, second] = PORTS;
  const host = ["-q", HOST_NQN, "-I", HOST_ID, "-o", "json"];
  const nvme = await run("nvme", ["discover", "-t", "tcp", "-a", first!.addr, "-s", `${first!.port}`, ...host], {
    check: true,
  });
  const words = ["--hostnqn", HOST_NQN, "--hostid", HOST_ID];
  const ours = await umpath("discover", `${first!.addr}:${first!.port}`, "--json", ...words);
  assertEquals(ours.code, 0, ours.stderr);
  const { services } = JSON.parse(ours.stdout);
  const { genctr, records } = JSON.parse(nvme.stdout);
  const theirs = records.map((record: Record<string, string>) => {
    return [
      kindOf(record.subtype!),
      record.trtype,
      record.adrfam,
      record.traddr,
      Number(record.trsvcid),
      record.subnqn,
    ];
  });
  // deno-lint-ignore no-explicit-any
  const told = services[0].entries.map((entry: any) => {
    return [entry.subtype, entry.transport, entry.addressFamily, entry.traddr, entry.trsvcid, entry.subsystemNqn];
  });
  assertEquals([services[0].generation, told], [genctr, theirs]);
  assertEquals(services.length, 2);
  assertMatch(JSON.stringify(services[1].entries), new RegExp(`"${NQN}","traddr":"${second!.addr}"`));
  const attached = await umpath(
    "attach",
    NQN,
    "--discover",
    `${first!.addr}:${first!.port}`,
    "--device",
    "none",
    ...words,
  );
  assertEquals(attached.code, 0, attached.stderr);
  const shown = await umpath("show");
  for (const { addr, port } of PORTS) assertMatch(shown.stdout, new RegExp(`${addr}:${port}  live`));
  assertEquals((await umpath("detach", "--all")).code, 0);
});

/** How nvme-cli calls the kinds of entries. */
function kindOf(subtype: string): string {
  if (subtype === "nvme subsystem") return "nvm";
  return subtype.startsWith("current") ? "current-discovery" : "referral";
}
