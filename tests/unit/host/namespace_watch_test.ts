import { assertEquals } from "@std/assert";
import type { ControllerSession } from "../../../src/host/controller_session.ts";
import { NamespaceWatch } from "../../../src/host/namespace_watch.ts";
import type { VolumePath } from "../../../src/host/volume_path.ts";
import type { KnownNamespace } from "../../../src/nvme/namespace_steps.ts";

Deno.test("NamespaceWatch heeds no answer of a controller whose path went down meanwhile", async () => {
  const sizes: number[] = [];
  const watch = new NamespaceWatch({
    name: "vol",
    blocks: 1000,
    difference: () => null,
    resize: (blocks) => sizes.push(blocks),
  });
  const path = {} as VolumePath;
  const read = Promise.withResolvers<KnownNamespace>();
  const session = { readNamespace: () => read.promise } as unknown as ControllerSession;
  watch.handleLive(path, 1000);
  const change = watch.handleChange(path, session);
  watch.handleDown(path);
  read.resolve({ limits: { blocks: 2000 } } as KnownNamespace);
  await change;
  assertEquals([sizes, watch.hasLivePath], [[], false]);
});
