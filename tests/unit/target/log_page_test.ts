import { assertEquals } from "@std/assert";
import { AdminTarget, DISCOVERY, get, textAt } from "./admin_fixture.ts";

const DISCOVERY_LOG = 0x70;

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
