import { assertEquals } from "@std/assert";
import { subsystemDifference } from "../../../src/nvme_host/subsystem.ts";

const KNOWN = { cntlid: 1, controller: { serial: "SN1" } };

function difference(cntlid: number, serial: string, known = KNOWN): string | null {
  return subsystemDifference(known, { cntlid, controller: { serial } }, "10.0.0.1:4420");
}

Deno.test("subsystemDifference() takes two controllers of one ID for two subsystems", () => {
  const words = 'it has controller 1 as "10.0.0.1:4420" has: these are two subsystems of one name';
  assertEquals(difference(1, "SN1"), words);
  assertEquals(difference(1, "SN2"), words);
  assertEquals(difference(2, "SN1"), null);
});

Deno.test("subsystemDifference() takes two serial numbers for two subsystems, and a blank one for no proof", () => {
  const words = 'it has the serial number "SN2" and "10.0.0.1:4420" has "SN1": these are two subsystems of one name';
  assertEquals(difference(2, "SN2"), words);
  assertEquals(difference(2, ""), null);
  assertEquals(difference(2, "SN2", { cntlid: 1, controller: { serial: "" } }), null);
});
