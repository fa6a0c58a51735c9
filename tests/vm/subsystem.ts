/** A storage system that dies and comes back with its data: nvmet's subsystem goes, the memory behind it stays. */
import type { NvmetTarget } from "./nvmet.ts";

const NVMET = "/sys/kernel/config/nvmet";
const NAMESPACE_ATTRIBUTES = ["device_path", "device_uuid", "device_nguid", "ana_grpid"];

/** Destroys the target's ports and its subsystem, runs `between`, and makes them again as they were. */
export async function rebuildSubsystem(target: NvmetTarget, nqn: string, between: () => Promise<void>): Promise<void> {
  const folder = `${NVMET}/subsystems/${nqn}`;
  await target.destroyPort(0);
  await target.destroyPort(1);
  const restore = await removeNamespaces(folder);
  const anyHost = await Deno.readTextFile(`${folder}/attr_allow_any_host`);
  await Deno.remove(folder);
  try {
    await between();
  } finally {
    await Deno.mkdir(folder);
    await Deno.writeTextFile(`${folder}/attr_allow_any_host`, anyHost, { create: false });
    await restore();
    await target.restorePort(0);
    await target.restorePort(1);
  }
}

/** Removes the namespaces of a subsystem; gives what makes them again. */
async function removeNamespaces(folder: string): Promise<() => Promise<void>> {
  const made: (() => Promise<void>)[] = [];
  for await (const { name } of Deno.readDir(`${folder}/namespaces`)) {
    const namespace = `${folder}/namespaces/${name}`;
    const values = new Map<string, string>();
    for (const attribute of NAMESPACE_ATTRIBUTES) {
      values.set(attribute, await Deno.readTextFile(`${namespace}/${attribute}`));
    }
    await Deno.writeTextFile(`${namespace}/enable`, "0", { create: false });
    await Deno.remove(namespace);
    made.push(() => makeNamespace(namespace, values));
  }
  return async () => {
    for (const make of made) await make();
  };
}

async function makeNamespace(namespace: string, values: Map<string, string>): Promise<void> {
  await Deno.mkdir(namespace);
  for (const [attribute, value] of values) {
    await Deno.writeTextFile(`${namespace}/${attribute}`, value.trim(), { create: false });
  }
  await Deno.writeTextFile(`${namespace}/enable`, "1", { create: false });
}
