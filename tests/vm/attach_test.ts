/** Attach again, at the same time, with paths that are missing, that come late, or that lead elsewhere. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { umpath } from "./harness.ts";
import { AttachedVolume, makeTarget, NQN, PORTS, UUID } from "./attached.ts";
import { volumes } from "./daemon_process.ts";
import { renamedNamespace, resizedNamespace } from "./identify_data.ts";
import { umpathProcesses } from "./leftovers.ts";
import { PduProxy } from "./pdu_proxy.ts";
import { vmTest } from "./vm_case.ts";

const DETOUR = { addr: "127.0.0.3", port: 4420 };
const OTHER_UUID = "0a0b0c0d-0e0f-4a4b-8c8d-0e0f0a0b0c0d";

vmTest("umpath attach run twice at once gives one volume and one daemon", { daemon: "own" }, async () => {
  await using _target = await makeTarget();
  const attach = () => umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  const results = await Promise.all([attach(), attach()]);
  const found = await volumes();
  const daemons = umpathProcesses();
  const detach = await umpath("detach", "/dev/ublkb0");
  for (const { code, stdout, stderr } of results) {
    // The one that comes second says what it waits for if that takes long.
    const remarks = stderr.replace("umpath: warning: Waiting for another attach of this volume, vol-n1\n", "");
    assertEquals([code, stdout, remarks], [0, "/dev/ublkb0\n", ""]);
  }
  assertEquals(found.map((volume) => [volume.name, volume.paths.length]), [["vol-n1", 2]]);
  assertEquals(daemons.length, 1, JSON.stringify(daemons));
  assertEquals(detach.code, 0, detach.stderr);
});

vmTest("umpath attach of an attached volume adds the paths that are missing", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!] });
  assertEquals((await volume.info()).paths.length, 1);
  const again = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  assertEquals(again, { code: 0, stdout: `${volume.device}\n`, stderr: "" });
  assertEquals((await volume.info()).paths.map((path) => [path.traddr, path.state]), [
    ["127.0.0.1", "live"],
    ["127.0.0.2", "live"],
  ]);
  const third = await AttachedVolume.attach();
  assertEquals([third.device, third.warnings], [volume.device, []]);
  assertEquals((await volume.info()).paths.length, 2);
  assertEquals((await volumes()).length, 1);
});

vmTest("umpath attach succeeds with one live path, names the other, and uses it when it comes", {}, async () => {
  await using target = await makeTarget();
  await target.removePort(1);
  const attach = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!] });
  assertEquals(attach.code, 0, attach.stderr);
  assertEquals(attach.stdout, `${volume.device}\n`);
  assertMatch(attach.stderr, /127\.0\.0\.2:4420/);
  const { state, paths } = await volume.info();
  assertEquals([state, paths.map((path) => path.neverLive)], ["live", [false, true]]);
  await target.restorePort(1);
  await volume.waitPath(PORTS[1]!, "live");
  assertEquals((await volume.info()).state, "live");
});

vmTest("two namespaces are two volumes at once, and detach --all takes both away", {}, async () => {
  await using _target = await makeTarget({
    namespaces: [
      { nsid: 1, sizeMiB: 32, blockSize: 4096, uuid: UUID },
      { nsid: 2, sizeMiB: 16, blockSize: 512, uuid: OTHER_UUID },
    ],
  });
  await using one = await AttachedVolume.attach({ nsid: 1 });
  await using two = await AttachedVolume.attach({ nsid: 2 });
  assert(one.device !== two.device);
  assertEquals([one.name, two.name], ["vol-n1", "vol-n2"]);
  const found = (await volumes()).map(({ uuid, sizeBytes, blockSize }) => ({ uuid, sizeBytes, blockSize }));
  assertEquals(found, [
    { uuid: UUID, sizeBytes: 32 << 20, blockSize: 4096 },
    { uuid: OTHER_UUID, sizeBytes: 16 << 20, blockSize: 512 },
  ]);
  const detach = await umpath("detach", "--all");
  assertEquals([detach.code, detach.stdout], [0, ""]);
  assertEquals(await volumes(), []);
});

vmTest("a second path to another namespace is refused, and the first one stays", {}, async () => {
  await using _target = await makeTarget();
  const onAnswer = renamedNamespace(UUID, OTHER_UUID);
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]!, onAnswer });
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!] });
  const second = await umpath("attach", NQN, "-p", DETOUR.addr);
  assertEquals([second.code, second.stdout], [5, ""], second.stderr);
  assertMatch(second.stderr, /127\.0\.0\.3:4420.*another namespace/);
  assertEquals((await volume.info()).paths.map((path) => [path.traddr, path.state]), [["127.0.0.1", "live"]]);
  await Deno.readFile(`/sys/block/${volume.device.slice(5)}/size`);
});

vmTest("attach over paths to two namespaces takes one of them and names the path that it leaves out", {}, async () => {
  await using _target = await makeTarget();
  const onAnswer = renamedNamespace(UUID, OTHER_UUID);
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]!, onAnswer });
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!, DETOUR] });
  assertEquals((await volume.info()).paths.length, 1);
  const named = volume.warnings.filter((warning) => /another namespace/.test(warning));
  assertEquals(named.length, 1, volume.warnings.join());
});

vmTest("a second path that shows another size joins, and the smallest counts", {}, async () => {
  await using _target = await makeTarget();
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]!, onAnswer: resizedNamespace(64, 96) });
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!] });
  await AttachedVolume.attach({ ports: [DETOUR] });
  const info = await volume.info();
  assertEquals(info.paths.map(({ state }) => state), ["live", "live"]);
  assertMatch(String(info.sizeWarning), /its paths show sizes of 16384 to 24576 blocks/);
});
