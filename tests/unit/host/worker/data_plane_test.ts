import { assert, assertEquals, assertMatch } from "@std/assert";
import { ENOMEM } from "../../../../src/base/errno.ts";
import { DataPlane } from "../../../../src/host/worker/data_plane.ts";
import type { AddVolume, FromWorker } from "../../../../src/host/worker/worker_messages.ts";
import { RegionPlaces } from "../../../../src/io/region_places.ts";
import { Wake } from "../../../../src/io/wake.ts";
import { Counters } from "../../../../src/multipath/counters.ts";
import { HandoverTable } from "../../../../src/multipath/handover_table.ts";
import { PathTable } from "../../../../src/multipath/path_table.ts";
import { ReplacedNative } from "../../io/replaced_native.ts";

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
  {
    using _refused = new ReplacedNative("um_commit", () => -ENOMEM);
    plane.handleMessage(addVolume(0, 4096));
  }
  plane.handleMessage(addVolume(1, 4096));
  plane.handleMessage({ type: "remove-volume", volume: 1 });
  const [refused, added] = told as (FromWorker & { type: "volume-added" })[];
  assertEquals([refused.type, refused.volume, added.type, added.volume], ["volume-added", 0, "volume-added", 1]);
  assertMatch(refused.failure!.message, /^Cannot map [\d.]+ MiB of memory: out of memory$/);
  assertEquals(added.failure, null);
});

Deno.test("DataPlane shows V8 no memory anew for a volume, and has the memory of one that is gone again", () => {
  const told: FromWorker[] = [];
  using plane = new DataPlane((message) => void told.push(message));
  plane.handleMessage(addVolume(0, 512 << 10));
  const { external } = Deno.memoryUsage();
  for (let volume = 1; volume < 60; volume++) {
    plane.handleMessage(addVolume(volume, 16 << 20));
    plane.handleMessage({ type: "remove-volume", volume });
    Wake.signal(plane.wake.fd);
    plane.run();
  }
  assertEquals(told.filter(({ type }) => type === "volume-removed").length, 59);
  assert(Deno.memoryUsage().external - external < 64 << 20);
});

Deno.test("DataPlane shows the memory of a queue to its neighbours only once its port is made", () => {
  const told: FromWorker[] = [];
  using plane = new DataPlane((message) => told.push(message));
  const places = RegionPlaces.shared(2);
  const neighbours = {
    queue: 1,
    handover: new HandoverTable(2).shared,
    places,
    wakeFds: [plane.wake.fd, plane.wake.fd],
  };
  const shown = () => new RegionPlaces(places).at(1).bytes;
  // There is no such descriptor, so that the driver's memory cannot be mapped.
  plane.handleMessage({
    ...addVolume(0, 4096),
    neighbours,
    ublk: { charFd: -1, queueId: 1, ioctlEncode: true },
  });
  const [refused] = told as (FromWorker & { type: "volume-added" })[];
  assert(refused.failure !== null);
  assertEquals(shown(), 0);
  plane.handleMessage({ ...addVolume(1, 4096), neighbours });
  assertEquals((told[1] as FromWorker & { type: "volume-added" }).failure, null);
  assert(shown() > 0);
  plane.handleMessage({ type: "remove-volume", volume: 1 });
});
