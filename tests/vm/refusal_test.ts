/** What attach refuses, with which exit code and in which words. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { run, type RunResult, umpath, umpathBinary } from "./harness.ts";
import { AttachedVolume, HOST_NQN, makeTarget, NQN, PORTS } from "./attached.ts";
import { volumes } from "./daemon_process.ts";
import { vmTest } from "./vm_case.ts";

/** Nobody listens there. */
const DEAF = { addr: "127.0.0.9", port: 4420 };
/** The control device of the ublk driver. */
const CONTROL = "/dev/ublk-control";

/** A command that was refused: nothing on stdout, and these words on stderr. */
function assertRefused(result: RunResult, code: number, words: RegExp): void {
  assertEquals([result.code, result.stdout], [code, ""], result.stderr);
  assertMatch(result.stderr, words);
  assert(!/\bat .*:\d+:\d+/.test(result.stderr), `a stack for a user: ${result.stderr}`);
}

vmTest("attach of an NQN that the target does not have is refused in words", {}, async () => {
  await using _target = await makeTarget();
  const result = await umpath("attach", "nqn.2026-11.io.test:absent", "-p", "127.0.0.1", "-p", "127.0.0.2");
  assertRefused(result, 5, /127\.0\.0\.1:4420.*no such subsystem/);
  assertEquals(await volumes(), []);
});

vmTest("attach by a host that is not allowed is refused in words, and an allowed one gets in", {}, async () => {
  await using _target = await makeTarget({ allowedHosts: ["nqn.2014-08.org.nvmexpress:uuid:welcome"] });
  const stranger = await umpath("attach", NQN, "-p", "127.0.0.1", "--hostnqn", HOST_NQN);
  assertRefused(stranger, 5, /127\.0\.0\.1:4420.*host is not allowed/);
  const hostNqn = "nqn.2014-08.org.nvmexpress:uuid:welcome";
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!], hostNqn });
  assertEquals((await volume.info()).state, "live");
});

vmTest("attach of a namespace that is not there says which ones are", {}, async () => {
  await using _target = await makeTarget();
  const result = await umpath("attach", NQN, "-p", "127.0.0.1", "--nsid", "7");
  assertRefused(result, 3, /no namespace 7 \(.*\b1\b/);
  assertEquals(await volumes(), []);
});

vmTest("attach to a port where nothing listens says so", {}, async () => {
  const result = await umpath("attach", NQN, "-p", DEAF.addr);
  assertRefused(result, 4, /127\.0\.0\.9:4420.*refused/);
});

vmTest("attach to a port that accepts and stays silent ends within the connect timeout", {}, async () => {
  const held: Deno.TcpConn[] = [];
  const listener = Deno.listen({ hostname: DEAF.addr, port: DEAF.port });
  const accepting = (async () => {
    for await (const conn of listener) held.push(conn);
  })().catch(() => {});
  try {
    const started = performance.now();
    const result = await umpath("attach", NQN, "-p", DEAF.addr, "--connect-timeout", "2s");
    const seconds = (performance.now() - started) / 1000;
    assertRefused(result, 4, /127\.0\.0\.9:4420.*accepts connections but does not answer/);
    assert(seconds < 60, `it took ${seconds} s`);
  } finally {
    listener.close();
    held.forEach((conn) => conn.close());
    await accepting;
  }
});

vmTest("attach to a port that speaks another protocol says that it is not NVMe/TCP", {}, async () => {
  const server = Deno.serve(
    { hostname: DEAF.addr, port: DEAF.port, onListen: () => {} },
    () => new Response("no storage here"),
  );
  try {
    assertRefused(await umpath("attach", NQN, "-p", DEAF.addr), 4, /127\.0\.0\.9:4420/);
  } finally {
    await server.shutdown();
  }
});

vmTest("attach --device ublk without the ublk driver says how to load it", { daemon: "own" }, async () => {
  const config = "/etc/modprobe.d/umpath-test.conf";
  await using _target = await makeTarget();
  // The driver stays loaded if another test of this process has its control device open: it is out of sight instead.
  const hasControl = (await run("mv", [CONTROL, `${CONTROL}-away`])).code === 0;
  await Deno.writeTextFile(config, "install ublk_drv /bin/false\n");
  try {
    const line = ["attach", NQN, "-p", "127.0.0.1", "--device", "ublk"];
    assertRefused(await umpath(...line), 6, /no ublk driver[^]*modprobe ublk_drv/);
  } finally {
    await Deno.remove(config);
    if (hasControl) await run("mv", [`${CONTROL}-away`, CONTROL], { check: true });
  }
});

vmTest("attach by a user who is not root says that root is needed", { daemon: "own" }, async () => {
  await using _target = await makeTarget();
  await run("modprobe", ["ublk_drv"], { check: true });
  const folder = await Deno.makeTempDir({ dir: "/run" });
  await run("chown", ["nobody", folder], { check: true });
  const line = ["attach", NQN, "-p", "127.0.0.1"];
  const asNobody = ["--reuid=nobody", "--clear-groups", umpathBinary(), ...line];
  const inOwnFolder = await run("setpriv", asNobody, { env: { UMPATH_RUN_DIR: `${folder}/umpath`, HOME: folder } });
  assertRefused(inOwnFolder, 6, /root/);
  const inDefaultFolder = await run("setpriv", asNobody, { env: { UMPATH_RUN_DIR: "", HOME: folder } });
  assertRefused(inDefaultFolder, 6, /root/);
});
