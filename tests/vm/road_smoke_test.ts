/** The whole road by the command line alone, as the README shows it; short enough for every kernel. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, fio, kernelConnect, run, umpath } from "./harness.ts";
import { KERNEL_HOST_NQN, makeTarget, NQN, PORTS } from "./attached.ts";
import { withFilesystem, writeFiles } from "./filesystem.ts";
import { loadErrors, mixedLoad, newSeed, smallLoad, underLoad } from "./load.ts";
import { umpathProcesses } from "./leftovers.ts";
import { volumes } from "./daemon_process.ts";
import { vmTest } from "./vm_case.ts";

vmTest("umpath attaches, serves and detaches a volume over two paths", { daemon: "own" }, async () => {
  const seed = newSeed();
  await using target = await makeTarget();
  const attach = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  try {
    assertEquals(attach, { code: 0, stdout: "/dev/ublkb0\n", stderr: "" });
    const device = attach.stdout.trim();

    assertEquals(loadErrors([await fio(mixedLoad(device, seed))]), []);
    await checkCounts();

    const lossless = await underLoad(smallLoad(device, seed), async () => {
      await target.removePort(1);
      await waitPathState(1, "reconnecting");
      await target.restorePort(1);
      await waitPathState(1, "live");
    });
    assertEquals(loadErrors(lossless), []);

    let sums = "";
    await withFilesystem("ext4", device, async (folder) => sums = await writeFiles(folder, seed), { make: true });
    await withFilesystem("ext4", device, async (folder) => {
      await run("sh", ["-c", `cd ${folder} && sha256sum --quiet -c -`], { input: sums, check: true });
    });

    const kernel = await kernelConnect(NQN, PORTS, KERNEL_HOST_NQN);
    try {
      await run("cmp", [device, kernel.device], { check: true });
    } finally {
      await kernel.disconnect();
    }
  } finally {
    const detach = await umpath("detach", "vol-n1");
    assertEquals(detach, { code: 0, stdout: "", stderr: "vol-n1: detached\n" });
  }
  assertEquals(umpathProcesses(), []);
});

async function checkCounts(): Promise<void> {
  const list = await umpath("list", "--json");
  assertEquals(list.code, 0, list.stderr);
  const show = await umpath("show", "--json");
  assertEquals(Object.keys(JSON.parse(list.stdout)), ["schemaVersion", "volumes", "attaching", "left"]);
  assertEquals(Object.keys(JSON.parse(show.stdout)), ["schemaVersion", "volumes", "left", "daemon"]);
  const { schemaVersion, volumes: [volume] } = JSON.parse(show.stdout);
  assertEquals(schemaVersion, 1);
  assertEquals(volume.state, "live");
  for (const path of volume.paths) {
    assertEquals(path.state, "live");
    assert(path.reads > 10 && path.writes > 10, `path ${path.id}: ${path.reads} reads, ${path.writes} writes`);
    assertEquals(path.errors, 0);
  }
  const lines = await umpath("list");
  assertMatch(
    lines.stdout,
    /^vol-n1 +\/dev\/ublkb0 +64 MiB +live +2\/2 paths +queue-depth +nqn\.2026-11\.io\.test:vol +1\n$/,
  );
}

async function waitPathState(index: number, state: string): Promise<void> {
  await eventually(async () => (await volumes())[0]!.paths[index]!.state === state, 30_000);
}
