/** `umpath serve` as the kernel's own initiator and nvme-cli see it, in short: found, connected over all portals, used. */
import { assert, assertEquals } from "@std/assert";
import { KERNEL_HOST_NQN, NQN, PORTS } from "./attached.ts";
import { dmesgMark, dmesgWarnings, eventually, fio, namespaceDevices, nvmeJson, run } from "./harness.ts";
import { mixedLoad, newSeed } from "./load.ts";
import { ServedTarget } from "./served_target.ts";
import { vmTest } from "./vm_case.ts";

const HOST_ID = "0b6b2d4e-7a51-4f0b-8c76-2f8f3c1f9a10";
const STATE_MS = 60_000;
/** The kernel's words about a Keep Alive that its own disconnect ends, with a time that means nothing. */
const CANCELLED_KEEP_ALIVE = /long keepalive RTT|failed nvme_keep_alive_end_io error=/;

vmTest("nvme discover lists every portal, connect-all connects them live, and fio verifies what it wrote", {
  daemon: "own",
}, async () => {
  await using _target = await ServedTarget.start({ nqn: NQN, ports: PORTS });
  await run("modprobe", ["nvme-tcp"], { check: true });
  const mark = await dmesgMark();
  const portal = ["-t", "tcp", "-a", PORTS[0]!.addr, "-s", String(PORTS[0]!.port)];
  const host = ["-q", KERNEL_HOST_NQN, "-I", HOST_ID];
  const log = await nvmeJson("discover", ...portal, ...host);
  const found = log.records.filter((record: { subnqn: string }) => record.subnqn === NQN);
  assertEquals(found.map((record: { traddr: string }) => record.traddr).sort(), PORTS.map(({ addr }) => addr));
  for (const record of found) {
    assertEquals([record.trtype, record.adrfam, record.subtype], ["tcp", "ipv4", "nvme subsystem"]);
    assertEquals(record.trsvcid, String(PORTS[0]!.port));
  }
  await run("nvme", ["connect-all", ...portal, ...host], { check: true });
  try {
    const subsystems = await eventually(async () => {
      const listed = JSON.stringify(await nvmeJson("list-subsys"));
      return listed.split('"live"').length - 1 === PORTS.length ? listed : undefined;
    }, STATE_MS);
    assert(subsystems.includes(NQN));
    for (const { addr } of PORTS) assert(subsystems.includes(`traddr=${addr}`), subsystems);
    const device = await eventually(async () => (await namespaceDevices(NQN))[0], STATE_MS);
    const { code, stderr } = await fio({ ...mixedLoad(device, newSeed()), size: "16m" });
    assertEquals(code, 0, stderr);
    assertEquals(await dmesgWarnings(mark, /nvme/), []);
  } finally {
    await run("nvme", ["disconnect", "-n", NQN], { check: true });
  }
  const atTheEnd = await dmesgWarnings(mark, /nvme/);
  assertEquals(atTheEnd.filter((line) => !CANCELLED_KEEP_ALIVE.test(line)), []);
});
