import { assertEquals } from "@std/assert";
import { AdminTarget, DISCOVERY, get, textAt } from "./admin_fixture.ts";

const SMART = 0x02;
const DISCOVERY_LOG = 0x70;

Deno.test("The SMART log tells the I/O that was done, in units of a thousand sectors", () => {
  const io = { reads: 7, writes: 3, readBytes: 512_001, writeBytes: 2 ** 42, deviceErrors: 2 };
  const host = new AdminTarget({ ioTotals: () => io }).host();
  const units = () => [get(host.logged(SMART, 512), 32, 6), get(host.logged(SMART, 512), 48, 6)];
  assertEquals(units(), [2, Math.ceil(2 ** 42 / 512_000)]);
  const page = host.logged(SMART, 512);
  assertEquals([get(page, 64, 6), get(page, 80, 6), get(page, 160, 6)], [7, 3, 2]);
  io.reads++;
  io.readBytes += 512_000;
  assertEquals(get(host.logged(SMART, 512), 64, 6), 8);
  assertEquals(units()[0], 3);
});

Deno.test("The discovery log leaves open whether a channel is secure, for else nvme-cli wants TLS", () => {
  const page = new AdminTarget().discoveryHost().logged(DISCOVERY_LOG, 4096);
  assertEquals(get(page, 8, 8), 3);
  const entries = [0, 1, 2].map((i) => page.subarray(1024 * (i + 1), 1024 * (i + 2)));
  assertEquals(textAt(entries[0]!, 256, DISCOVERY.length), DISCOVERY);
  // TREQ: "not specified", and Connect may turn SQ flow control off.
  assertEquals(entries.map((entry) => entry[3]), [4, 4, 4]);
});

Deno.test("Discovery controllers tell the MQES that others tell, for the kernel's host warns of less", () => {
  const target = new AdminTarget();
  const caps = [target.host(), target.discoveryHost()].map((host) => host.send({ opc: 0x7f, nsid: 4, cdw10: 1 }));
  assertEquals(caps.map(({ status, dw0 }) => [status, dw0 & 0xffff]), [[0, 127], [0, 127]]);
});
