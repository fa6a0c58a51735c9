/**
 * Digests between `umpath attach` and `umpath serve` over a network that changes bits on demand: what is told of them, and
 * that no I/O is lost or wrong.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes, fail } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import type { PathInfo, VolumeInfo } from "../../src/rpc/host_api.ts";
import { call } from "../../src/rpc/client.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { PduAt, PduHlen, PduType } from "../../src/protocol/nvme_tcp.ts";
import { FakeTarget, NQN } from "./host/fake_target.ts";
import { eventually } from "../vm/eventually.ts";
import { loadErrors, smallLoad, underLoad } from "../vm/load.ts";
import { type PduPlace, PduProxy } from "../vm/pdu_proxy.ts";
import { Cli, type Result } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { Served } from "./served.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const HOST = [
  "--hostnqn",
  "nqn.2014-08.org.nvmexpress:uuid:2f0e0d0c-0b0a-4908-8706-050403020100",
  "--hostid",
  "2f0e0d0c-0b0a-4908-8706-050403020100",
];
const TIMES = ["--reconnect-delay", "20ms", "--reconnect-delay-max", "100ms"];
const EXIT_REFUSED = 5;
const WAIT_MS_MAX = 15_000;
const FAULTY = 1;

/** Which way a PDU goes, and where it is. */
interface PduWay extends PduPlace {
  path: number;
  fromHost: boolean;
}

/** Where a byte of this PDU is to be changed; null for one that is to come as it is. */
type Spoiler = (pdu: Uint8Array, way: PduWay) => number | null;

/** Data of a read, of a write in its capsule, and of a write by R2T. */
const DATA_TYPES: readonly number[] = [PduType.C2HData, PduType.CapsuleCmd, PduType.H2CData];

function isData(pdu: Uint8Array): boolean {
  return DATA_TYPES.includes(pdu[PduAt.TYPE]!) && pdu[PduAt.PDO] !== 0;
}

/** Changes the data of so many in a hundred PDUs of I/O, in one direction. */
function spoilData({ percent, fromHost, paths }: { percent: number; fromHost: boolean; paths: number[] }): Spoiler {
  const prng = new Prng(SEED);
  return (pdu, way) => {
    const isMeant = way.fromHost === fromHost && way.connection > 0 && paths.includes(way.path);
    return isMeant && isData(pdu) && prng.below(100) < percent ? pdu[PduAt.PDO]! : null;
  };
}

/** A target with two listeners, a network before each of them, and a volume over both. */
class Rig implements AsyncDisposable {
  readonly cli = new Cli();
  spoiler: Spoiler;
  /** PDUs that were changed. */
  spoilt = 0;
  device = "";
  readonly #options: string[];
  readonly #proxies: PduProxy[] = [];
  #target: Served | null = null;

  private constructor(options: string[], spoiler: Spoiler) {
    this.#options = options;
    this.spoiler = spoiler;
  }

  static async start(options: string[], spoiler: Spoiler = () => null): Promise<Rig> {
    const rig = new Rig(options, spoiler);
    rig.#target = await Served.start(rig.cli, { nqn: NQN, words: ["--ram", "32M"] });
    for (const [path, { hostname, port }] of rig.#target.portals.entries()) {
      rig.#proxies.push(PduProxy.listen({
        listen: { addr: detourOf(hostname), port },
        target: { addr: hostname, port },
        onCommand: (pdu, place) => void rig.#pass(pdu, { ...place, path, fromHost: true }),
        onAnswer: (pdu, place) => rig.#pass(pdu, { ...place, path, fromHost: false }),
      }));
    }
    const { code, stdout, stderr } = await rig.attach();
    assertEquals([code, stderr], [0, ""]);
    rig.device = stdout.trim();
    return rig;
  }

  #pass(pdu: Uint8Array, way: PduWay): Uint8Array {
    const at = this.spoiler(pdu, way);
    if (at === null) return pdu;
    pdu[at]! ^= 0x04;
    this.spoilt++;
    return pdu;
  }

  /** Attaches, or again, with further options. */
  attach(...more: string[]): Promise<Result> {
    const paths = this.#target!.portals.flatMap(({ hostname }) => ["-p", detourOf(hostname)]);
    return this.cli.run("attach", NQN, ...paths, ...HOST, ...TIMES, ...this.#options, ...more);
  }

  async volume(): Promise<VolumeInfo> {
    const list = await call("list", {}, { dir: runDirAt(this.cli.runDir) });
    return list?.volumes[0] ?? fail("The volume is gone");
  }

  /** The paths in the order of the listeners. */
  async paths(): Promise<PathInfo[]> {
    const { paths } = await this.volume();
    return this.#target!.portals.map(({ hostname }) => paths.find(({ traddr }) => traddr === detourOf(hostname))!);
  }

  async when(what: string, holds: (paths: PathInfo[]) => boolean): Promise<void> {
    await eventually(async () => {
      const paths = await this.paths();
      if (holds(paths)) return true;
      throw new Error(`still not ${what} (seed ${SEED}): ${JSON.stringify(paths)}\n${this.log()}`);
    }, WAIT_MS_MAX);
  }

  log(): string {
    return Deno.readTextFileSync(`${this.cli.runDir}/daemon.log`);
  }

  /** Load of about a second a run, verified, for as long as `during` takes; what is wrong ends the test. */
  async underLoad(during: () => Promise<void>): Promise<void> {
    const options = { ...smallLoad(this.device, SEED), bsrange: "4k-256k", size: "6m", rate: "6m,6m" };
    assertEquals(loadErrors(await underLoad(options, during)), [], `seed ${SEED}\n${this.log()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.spoiler = () => null;
    const { code, stderr } = await this.cli.run("detach", "--all");
    for (const proxy of this.#proxies) await proxy.close();
    await this.#target?.end();
    await this.cli.assertNoDaemonIsLeft();
    await this.cli[Symbol.asyncDispose]();
    assertEquals(code, 0, stderr);
  }
}

/** Where the network before a listener begins. */
function detourOf(hostname: string): string {
  return hostname.replace(/\.(\d+)$/, ".10$1");
}

Deno.test("umpath attach with digests brings all connections up with them, and show tells of them", async () => {
  await using rig = await Rig.start(["--device", "none", "--hdr-digest", "--data-digest"]);
  const { headerDigest, dataDigest, state, name } = await rig.volume();
  assertEquals([headerDigest, dataDigest, state], [true, true, "live"]);
  assertMatch((await rig.cli.run("show", name)).stdout, /digests +header and data/);
  const shown = JSON.parse((await rig.cli.run("list", "--json")).stdout);
  assertEquals([shown.volumes[0].headerDigest, shown.volumes[0].paths[0].digestErrors], [true, 0]);
  const again = await rig.attach();
  assertEquals([again.code, again.stderr], [0, ""]);
});

Deno.test("umpath attach of a volume without digests refuses to attach it with them", async () => {
  await using rig = await Rig.start(["--device", "none"]);
  assertEquals((await rig.volume()).headerDigest, false);
  for (const option of ["--hdr-digest", "--data-digest"]) {
    const { code, stderr } = await rig.attach(option);
    assertEquals(code, 7, stderr);
    assertStringIncludes(stderr, `Cannot attach with ${option}: `);
    assertStringIncludes(stderr, "is attached without it");
  }
});

Deno.test("umpath attach gets over changed data of admin commands and of Connect, either way", async () => {
  const left = new Map([["0 true", 2], ["0 false", 3], ["1 true", 1], ["1 false", 1]]);
  const spoiler: Spoiler = (pdu, { path, fromHost, connection }) => {
    const key = `${path} ${fromHost}`;
    if (connection > 1 || !isData(pdu) || left.get(key) === 0) return null;
    left.set(key, left.get(key)! - 1);
    return pdu[PduAt.PDO]!;
  };
  await using rig = await Rig.start(["--device", "none", "--data-digest"], spoiler);
  assertEquals(rig.spoilt, 7);
  assertEquals((await rig.paths()).map(({ state, reconnects }) => [state, reconnects]), [["live", 0], ["live", 0]]);
});

Deno.test("umpath attach refuses a target that does not grant the digests that are asked for", async () => {
  await using cli = new Cli();
  await using target = FakeTarget.start({ portals: 1 });
  const { words } = target.portals[0]!;
  for (const [option, name] of [["--hdr-digest", "header"], ["--data-digest", "data"]]) {
    const { code, stdout, stderr } = await cli.run("attach", NQN, "-p", words, "--device", "none", ...HOST, option!);
    assertEquals([code, stdout], [EXIT_REFUSED, ""], stderr);
    const reason = `the controller does not grant the ${name} digest that was asked for`;
    assertStringIncludes(stderr, `Cannot connect to "${words}": ${reason}`);
    assertStringIncludes(stderr, "Switch the digests on at the target");
  }
  await cli.assertNoDaemonIsLeft();
});

loopTest(
  "data of reads that is changed on one of two paths costs no I/O and no connection, and is counted",
  async () => {
    await using rig = await Rig.start(["--device", "loop", "--hdr-digest", "--data-digest"]);
    await rig.underLoad(async () => {
      rig.spoiler = spoilData({ percent: 30, fromHost: false, paths: [FAULTY] });
      await rig.when("with digest errors", (paths) => paths[FAULTY]!.digestErrors > 20);
      rig.spoiler = () => null;
    });
    const [good, bad] = await rig.paths();
    assertEquals(bad!.digestErrors, rig.spoilt, rig.log());
    assertEquals([good!.digestErrors, good!.reconnects, bad!.reconnects, bad!.state], [0, 0, 0, "live"], rig.log());
    assert(bad!.errors > 0 && bad!.failovers > 0 && bad!.reads > 0);
    assertMatch((await rig.cli.run("show", (await rig.volume()).name)).stdout, /\d+ digest errors/);
  },
);

loopTest("data of writes that is changed on one of two paths costs no I/O and no connection", async () => {
  await using rig = await Rig.start(["--device", "loop", "--hdr-digest", "--data-digest"]);
  await rig.underLoad(async () => {
    rig.spoiler = spoilData({ percent: 30, fromHost: true, paths: [FAULTY] });
    await rig.when("with errors", (paths) => paths[FAULTY]!.errors > 20);
    rig.spoiler = () => null;
  });
  const [good, bad] = await rig.paths();
  assert(rig.spoilt >= bad!.errors && bad!.writes > 0);
  assertEquals([good!.errors, good!.reconnects, bad!.reconnects, bad!.digestErrors], [0, 0, 0, 0], rig.log());
});

loopTest("data that is changed on all paths, either way, is sent again until it is right", async () => {
  await using rig = await Rig.start(["--device", "loop", "--data-digest"]);
  const there = spoilData({ percent: 8, fromHost: true, paths: [0, 1] });
  const back = spoilData({ percent: 8, fromHost: false, paths: [0, 1] });
  await rig.underLoad(async () => {
    rig.spoiler = (pdu, way) => there(pdu, way) ?? back(pdu, way);
    await rig.when("with digest errors", (paths) => paths.every(({ digestErrors }) => digestErrors > 5));
    rig.spoiler = () => null;
  });
  assertEquals((await rig.paths()).map(({ reconnects }) => reconnects), [0, 0], rig.log());
});

for (const fromHost of [false, true]) {
  loopTest(
    `a header that is changed on its way ${fromHost ? "to" : "from"} the target costs its path a moment`,
    async () => {
      await using rig = await Rig.start(["--device", "loop", "--hdr-digest"]);
      await rig.underLoad(async () => {
        rig.spoiler = (pdu, way) => {
          const isMeant = way.path === FAULTY && way.connection > 0 && way.fromHost === fromHost && rig.spoilt === 0;
          return isMeant && pdu[PduAt.TYPE] !== PduType.ICReq ? PduHlen.CapsuleResp - 1 : null;
        };
        await rig.when("reconnected", (paths) => paths[FAULTY]!.reconnects === 1 && paths[FAULTY]!.state === "live");
      });
      const [good, bad] = await rig.paths();
      assertMatch(
        rig.log(),
        // The target ends all connections of the controller then, and any of them may be noticed first.
        fromHost
          ? /ended the connection: header digest error|reconnecting: the controller closed the/
          : /sent an? \w+ with a header digest error/,
      );
      assertEquals([good!.digestErrors, good!.reconnects, bad!.digestErrors], [0, 0, fromHost ? 0 : 1], rig.log());
    },
  );
}
