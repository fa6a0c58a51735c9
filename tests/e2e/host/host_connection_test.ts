import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ENOSPC } from "../../../src/base/errno.ts";
import { closeQueues, failureOf } from "../../../src/host/driver/controller_session.ts";
import { ConnectionLost, HostConnection } from "../../../src/host/driver/host_connection.ts";
import { Poller } from "../../../src/io/poller.ts";
import {
  asyncEventRequestCommand,
  connectCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../../../src/nvme_host/commands.ts";
import { ReplacedNative } from "../../unit/io/replaced_native.ts";
import { FakeTarget, NQN } from "./fake_target.ts";
import { eventually, openSockets } from "./host_fixture.ts";

const poller = new Poller();
const connect = connectCommand({
  qid: 0,
  sqsize: 31,
  keepAliveMs: 0,
  hostId: new Uint8Array(16),
  cntlid: 0xffff,
  subsystemNqn: NQN,
  hostNqn: "nqn.2026-11.io.test:host",
});

Deno.test("request() after the end is rejected with the reason of the end", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const connection = await HostConnection.open(poller, target.portals[0].spec, 1_000);
  connection.fail("the test says so");
  connection.fail("not a second time");
  assertEquals(await connection.lost, "the test says so");
  await assertRejects(() => connection.request(connect), ConnectionLost, "the test says so");
  assertThrows(() => connection.handOver(), ConnectionLost, "the test says so");
});

Deno.test("request() that is not answered in time fails the connection and names the command", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const connection = await HostConnection.open(poller, portal.spec, 1_000);
  portal.fault = { at: "connect", how: "stall" };
  const message = "connect was not answered within 0.1 s";
  await assertRejects(() => connection.request(connect, 100), ConnectionLost, message);
  assertEquals(await connection.lost, message);
});

Deno.test("request() beyond the slots of the queue waits for one, and harms nothing", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const connection = await HostConnection.open(poller, portal.spec, 1_000);
  await connection.request(connect);
  const event = connection.request(asyncEventRequestCommand(), null);
  const many = Array.from({ length: 40 }, () => connection.request(identifyControllerCommand()));
  assertEquals((await connection.request(keepAliveCommand())).status, 0);
  for (const { status, data } of await Promise.all(many)) assertEquals([status, data!.length], [0, 4096]);
  assert(connection.isOpen);
  portal.fault = { at: "identify controller", how: "stall" };
  const stuck = Array.from({ length: 10 }, () => connection.request(identifyControllerCommand()));
  connection.close();
  for (const request of [event, ...stuck]) {
    await assertRejects(() => request, ConnectionLost, "the connection was closed");
  }
});

Deno.test("close() ends what waits, is harmless twice, and gives the socket back", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const before = openSockets();
  const connection = await HostConnection.open(poller, target.portals[0].spec, 1_000);
  connection.close();
  connection.close();
  connection.fail("too late");
  assert(!connection.isOpen);
  await eventually("the socket is closed", () => openSockets() === before && target.connections === 0);
  assertEquals(await Promise.race([connection.lost, Promise.resolve("unsettled")]), "unsettled");
});

Deno.test("handOver() leaves the socket open to its new owner", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const connection = await HostConnection.open(poller, target.portals[0].spec, 1_000);
  await connection.request(connect);
  const handed = connection.handOver();
  assert(!connection.isOpen);
  assertEquals(handed.transfer.maxH2cDataBytes, 32768);
  connection.close();
  assertEquals(target.connections, 1);
  closeQueues([handed]);
  await eventually("the target sees the end", () => target.connections === 0);
});

Deno.test("open() says why it cannot connect, for each kind of address", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const spec = target.portals[0].spec;
  const cases = [
    [{ ...spec, trsvcid: 1 }, "connection refused"],
    [{ ...spec, traddr: "not an address" }, "the address is not valid"],
    [{ ...spec, hostTraddr: "192.0.2.77" }, "no such address on this host from 192.0.2.77"],
    [{ ...spec, hostIface: "no-such-if" }, 'there is no interface "no-such-if" on this host'],
  ] as const;
  for (const [to, words] of cases) {
    const error = await assertRejects(() => HostConnection.open(poller, to, 1_000), ConnectionLost);
    assertStringIncludes(error.message, words);
  }
});

Deno.test("open() connects from the address that is asked for", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const to = { ...target.portals[0].spec, hostTraddr: "127.0.0.9" };
  const connection = await HostConnection.open(poller, to, 1_000);
  assertEquals(target.portals[0].peers, ["127.0.0.9"]);
  connection.close();
});

Deno.test("open() says that a socket cannot be watched, and closes it", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const { spec } = target.portals[0];
  const before = openSockets();
  for (const refused of [1, 3]) { // to be told that it is connected; and then for its bytes
    let calls = 0;
    using _full = new ReplacedNative(
      "um_epoll_control",
      (real, ...args) => ++calls === refused ? -ENOSPC : real(...args),
    );
    const error = await assertRejects(() => HostConnection.open(poller, spec, 1_000), ConnectionLost);
    assertEquals(error.message, "Cannot watch a socket: this user watches as many as the kernel lets it");
    const failure = failureOf({ spec, hostNqn: "" }, error, { isFinal: false });
    assertEquals([failure.code, failure.hint], [
      "host-lacks",
      "Raise the limit: sysctl fs.epoll.max_user_watches",
    ]);
  }
  await eventually("the sockets are closed", () => openSockets() === before);
});

Deno.test("many connections at once are served by one poller, and none is forgotten", async () => {
  await using target = FakeTarget.start({ portals: 2 });
  const before = openSockets();
  const specs = Array.from({ length: 60 }, (_, i) => target.portals[i % 2].spec);
  const connections = await Promise.all(specs.map((spec) => HostConnection.open(poller, spec, 2_000)));
  await Promise.all(connections.map((connection) => connection.request(connect)));
  connections.forEach((connection, i) => i % 3 === 0 ? connection.fail("test") : connection.close());
  await eventually("all are closed", () => openSockets() === before && target.connections === 0);
});
