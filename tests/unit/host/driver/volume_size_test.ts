import { assertEquals } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import type { KernelDevice } from "../../../../src/host/device/kernel_device.ts";
import { VolumeSize } from "../../../../src/host/driver/volume_size.ts";

const GEOMETRY = { blocks: 1024, blockSize: 512, physicalBlockSize: 512, readOnly: false } as const;

/** A volume whose device was made with `readOnly`, and then takes what it can, as the kernel's. */
function sized({ readOnly, byOption = false }: { readOnly: boolean; byOption?: boolean }) {
  const set: boolean[] = [];
  const device: Pick<KernelDevice, "path" | "resize" | "setReadOnly"> = {
    path: "/dev/loop7",
    resize: () => Promise.resolve(),
    setReadOnly(wanted) {
      if (readOnly && !wanted) return Promise.reject(new UmpathError("host-lacks", "It was made read-only"));
      set.push(wanted);
      return Promise.resolve();
    },
  };
  const volume = { name: "vol", kernelDevice: device as KernelDevice, resizeQueues: () => Promise.resolve() };
  const geometry = { ...GEOMETRY, readOnly } as ConstructorParameters<typeof VolumeSize>[1];
  return { size: new VolumeSize(volume, geometry, { isReadOnlyByOption: byOption }), set };
}

Deno.test("VolumeSize says why the volume takes no writes, as its namespace is protected and not any more", async () => {
  const { size, set } = sized({ readOnly: false });
  assertEquals(size.readOnlyReason, null);
  size.setReadOnly(true);
  assertEquals(size.readOnlyReason, "its namespace is write protected");
  await size.settle();
  size.setReadOnly(false);
  await size.settle();
  assertEquals([size.readOnlyReason, set], [null, [true, false]]);
});

Deno.test("VolumeSize says that a device that was made read-only stays so, until it has to be", async () => {
  const { size } = sized({ readOnly: true });
  assertEquals(size.readOnlyReason, "its namespace is write protected");
  size.setReadOnly(false);
  await size.settle();
  assertEquals(
    size.readOnlyReason,
    "its device was made while its namespace was write protected: to write, detach it and attach it again",
  );
  size.setReadOnly(true);
  await size.settle();
  assertEquals(size.readOnlyReason, "its namespace is write protected");
});

Deno.test("VolumeSize says that a volume was attached read-only, whatever its namespace is", () => {
  assertEquals(sized({ readOnly: true, byOption: true }).size.readOnlyReason, "it was attached with --read-only");
});
