import { assert, assertEquals } from "@std/assert";
import * as limits from "../../../src/base/limits.ts";
import { Connection, CONNECTION_DEPTH_MAX } from "../../../src/nvme_host/connection.ts";
import { SendBuffer } from "../../../src/nvme_host/send_buffer.ts";

Deno.test("limits are positive whole numbers", () => {
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isInteger(value) && value > 0, `${name} is ${value}`);
  }
});

Deno.test("limits keep the arena of the deepest queue with a connection on every path below 2^31", () => {
  const buffers = limits.QUEUE_DEPTH_MAX * limits.REQUEST_BYTES_MAX;
  const connections = limits.PATHS_MAX * Connection.arenaBytes(CONNECTION_DEPTH_MAX);
  assert(buffers + 2 * connections < 2 ** 31);
});

Deno.test("limits let a bit stand for each path in 16 bits, and a byte count retries", () => {
  assert(limits.PATHS_MAX <= 16);
  assert(limits.RETRIES_MAX < 255);
  assertEquals(SendBuffer.arenaBytes(8) % 8, 0);
});
