import { assertEquals } from "@std/assert";
import { NamespaceWatch } from "../../../../src/host/driver/namespace_watch.ts";
import type { VolumePath } from "../../../../src/host/driver/volume_path.ts";
import type { IdentityDifference } from "../../../../src/nvme_host/namespace.ts";
import type { KnownNamespace } from "../../../../src/nvme_host/namespace_steps.ts";

/** A volume of 1000 blocks, what its watch did to it, and paths that count how often they are asked. */
function rig() {
  const volume = {
    name: "vol",
    blocks: 1000,
    sizes: [] as number[],
    differs: null as IdentityDifference | null,
    difference: () => volume.differs,
    isProtected: false,
    setProtected: (isProtected: boolean) => void (volume.isProtected = isProtected),
    resize(blocks: number) {
      volume.blocks = blocks;
      volume.sizes.push(blocks);
    },
  };
  const watch = new NamespaceWatch(volume);
  const path = () => {
    const made = { asked: 0, refused: [] as string[] };
    return { ...made, readNamespace: () => void made.asked++, refuse: (why: string) => made.refused.push(why), made };
  };
  const as = (one: ReturnType<typeof path>) => one as unknown as VolumePath;
  const show = (one: ReturnType<typeof path>, blocks: number, readOnly = false) =>
    watch.handleShown(as(one), { limits: { blocks, readOnly } } as KnownNamespace);
  return { volume, watch, path, as, show };
}

Deno.test("NamespaceWatch heeds no answer of a controller whose path went down meanwhile", () => {
  const { volume, watch, path, as, show } = rig();
  const only = path();
  watch.handleLive(as(only), { blocks: 1000, readOnly: false });
  watch.handleDown(as(only));
  show(only, 2000);
  assertEquals(volume.sizes, []);
});

Deno.test("NamespaceWatch takes the size of those that are left when the path with the smallest is lost", () => {
  const { volume, watch, path, as, show } = rig();
  const [first, second] = [path(), path()];
  watch.handleLive(as(first), { blocks: 1000, readOnly: false });
  watch.handleLive(as(second), { blocks: 1000, readOnly: false });
  show(first, 2000);
  assertEquals([volume.sizes, watch.disagreement], [
    [],
    "its paths show sizes of 1000 to 2000 blocks: the smallest counts until they agree",
  ]);
  watch.handleDown(as(second));
  assertEquals([volume.sizes, watch.disagreement], [[2000], null]);
  watch.handleDown(as(first));
  assertEquals(volume.sizes, [2000], "without any path the size stays");
});

Deno.test("NamespaceWatch has the others asked when one path shows a new size, and not without end", () => {
  const { watch, path, as, show } = rig();
  const [first, second] = [path(), path()];
  watch.handleLive(as(first), { blocks: 1000, readOnly: false });
  watch.handleLive(as(second), { blocks: 1000, readOnly: false });
  show(first, 2000);
  assertEquals([first.made.asked, second.made.asked], [0, 1]);
  show(second, 1000);
  assertEquals([first.made.asked, second.made.asked], [0, 1], "it insists");
  show(second, 2000);
  assertEquals([first.made.asked, second.made.asked], [0, 1], "they agree");
});

Deno.test("NamespaceWatch refuses a path that is proved to lead elsewhere, and no other", () => {
  const { volume, watch, path, as, show } = rig();
  const only = path();
  watch.handleLive(as(only), { blocks: 1000, readOnly: false });
  volume.differs = { words: "nobody knows", isProved: false };
  show(only, 2000);
  assertEquals([only.made.refused, volume.sizes], [[], []]);
  volume.differs = { words: "its UUID is b", isProved: true };
  show(only, 2000);
  assertEquals(only.made.refused, ["it leads to another namespace now: its UUID is b"]);
});

Deno.test("NamespaceWatch takes a namespace for write protected while one live path shows it so", () => {
  const { volume, watch, path, as, show } = rig();
  const [first, second] = [path(), path()];
  watch.handleLive(as(first), { blocks: 1000, readOnly: false });
  watch.handleLive(as(second), { blocks: 1000, readOnly: false });
  show(first, 1000, true);
  assertEquals([volume.isProtected, second.made.asked], [true, 1]);
  show(second, 1000, true);
  show(first, 1000);
  assertEquals(volume.isProtected, true);
  watch.handleDown(as(second));
  assertEquals(volume.isProtected, false);
});
