import { assertEquals } from "@std/assert";
import { NullDevice } from "../../../src/block/null_device.ts";
import { RequestTable } from "../../../src/block/request.ts";

Deno.test("NullDevice answers every slot once, in order, with success", () => {
  const requests = new RequestTable(4, { bufferBytes: 512 });
  const device = new NullDevice(requests);
  requests.status.fill(5);
  assertEquals(device.pollCompletion(), -1);
  for (const slot of [2, 0, 3]) device.submit(slot, 0);
  assertEquals([2, 0, 3, -1], Array.from({ length: 4 }, () => device.pollCompletion()));
  assertEquals([...requests.status], [0, 5, 0, 0]);
});
