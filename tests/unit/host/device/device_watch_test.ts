import { assertEquals, assertStringIncludes } from "@std/assert";
import { ENODEV } from "../../../../src/base/errno.ts";
import { DeviceWatch } from "../../../../src/host/device/device_watch.ts";
import type { KernelDevice } from "../../../../src/host/device/kernel_device.ts";

/** A device, of which `lack()` tells what the test says at that moment. */
function watched(): { watch: DeviceWatch; kernel: { lack: string | null; looks: number } } {
  const kernel = { lack: null as string | null, looks: 0 };
  const device: KernelDevice = {
    driver: "loop",
    path: "/dev/loop3",
    endWords: ", as when somebody ends it",
    lack: () => {
      kernel.looks++;
      return Promise.resolve(kernel.lack);
    },
    setReadOnly: () => Promise.resolve(),
    resize: () => Promise.resolve(),
    destroy: () => Promise.resolve([]),
  };
  const watch = new DeviceWatch("vol-n1");
  watch.adopt(device);
  return { watch, kernel };
}

Deno.test("DeviceWatch.look() tells a device that is gone, for good, and no other", async () => {
  const { watch, kernel } = watched();
  await watch.look();
  assertEquals([watch.lost, watch.isGone], [null, false]);
  kernel.lack = "another program has unbound /dev/loop3";
  await watch.look();
  kernel.lack = null;
  await watch.look();
  assertEquals([watch.lost, watch.isGone], ["another program has unbound /dev/loop3", true]);
});

Deno.test("DeviceWatch.handleQueueEnded() tells a device that is there and takes no I/O", async () => {
  for (const [failure, words] of [[0, "as when somebody ends it"], [-ENODEV, "no such device"]] as const) {
    const { watch } = watched();
    watch.handleQueueEnded(failure);
    await watch.look();
    assertStringIncludes(watch.lost ?? "", "/dev/loop3 takes no I/O any more");
    assertStringIncludes(watch.lost ?? "", words);
    assertEquals(watch.isGone, false);
  }
});

Deno.test("DeviceWatch.handleQueueEnded() of a device that is gone says that it is", async () => {
  const { watch, kernel } = watched();
  kernel.lack = "another program has stopped it";
  watch.handleQueueEnded(0);
  await watch.look();
  assertEquals([watch.lost, watch.isGone], ["another program has stopped it", true]);
});

Deno.test("DeviceWatch loses nothing by what ends while the device is taken away, or made", async () => {
  const { watch, kernel } = watched();
  watch.retire();
  kernel.lack = "it is gone";
  watch.handleQueueEnded(0);
  await watch.look();
  assertEquals([watch.lost, kernel.looks], [null, 0]);
  watch.keep();
  await watch.look();
  assertEquals(watch.lost, "it is gone");
  const unmade = new DeviceWatch("vol-n1");
  unmade.handleQueueEnded(-ENODEV);
  await unmade.look();
  assertEquals(unmade.lost, null);
});

Deno.test("DeviceWatch.look() during a look has the device looked at once more, not once for each that asks", async () => {
  const { watch, kernel } = watched();
  await Promise.all(Array.from({ length: 20 }, () => watch.look()));
  assertEquals(kernel.looks, 2);
});
