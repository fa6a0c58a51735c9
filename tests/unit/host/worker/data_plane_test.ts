import { assertEquals, assertMatch } from "@std/assert";
import { DataPlane } from "../../../../src/host/worker/data_plane.ts";
import type { AddVolume, FromWorker } from "../../../../src/host/worker/worker_messages.ts";
import { Counters } from "../../../../src/multipath/counters.ts";
import { PathTable } from "../../../../src/multipath/path_table.ts";

function addVolume(volume: number, requestBytes: number): AddVolume {
  return {
    type: "add-volume",
    volume,
    geometry: {
      blockSize: 4096,
      blocks: 1024,
      physicalBlockSize: 4096,
      minIoBytes: 0,
      optimalIoBytes: 0,
      volatileCache: false,
      readOnly: false,
      maxDiscardBytes: 0,
      discardGranularity: 0,
      maxWriteZeroesBytes: 0,
    },
    nsid: 1,
    depth: 4,
    requestBytes,
    paths: new PathTable().shared,
    counters: new Counters().shared,
    neighbours: null,
    ublk: null,
  };
}

Deno.test("DataPlane says why it cannot take a volume, and serves the others", () => {
  const told: FromWorker[] = [];
  using plane = new DataPlane((message) => told.push(message));
  plane.handleMessage(addVolume(0, 2 ** 48));
  plane.handleMessage(addVolume(1, 4096));
  plane.handleMessage({ type: "remove-volume", volume: 1 });
  const [refused, added] = told as (FromWorker & { type: "volume-added" })[];
  assertEquals([refused.type, refused.volume, added.type, added.volume], ["volume-added", 0, "volume-added", 1]);
  assertMatch(refused.failure!, /memory/);
  assertEquals(added.failure, null);
});
