import { assert, assertEquals, assertRejects } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { ECONNREFUSED, EINVAL, ENODEV } from "../../../src/base/errno.ts";
import { Memory } from "../../../src/io/memory.ts";
import { Poller } from "../../../src/io/poller.ts";
import { Ring } from "../../../src/io/ring.ts";
import { ConnectFailure, tcpConnect, type TcpEndpoints } from "../../../src/io/tcp.ts";
import { Stopwatch } from "../stopwatch.ts";

function to(trsvcid: number, rest: Partial<TcpEndpoints> = {}): TcpEndpoints {
  return { traddr: "127.0.0.1", trsvcid, hostTraddr: null, hostIface: null, ...rest };
}

function listen(): { listener: Deno.Listener; port: number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { listener, port: (listener.addr as Deno.NetAddr).port };
}

/** A port that nothing listens on. */
function deadPort(): number {
  const { listener, port } = listen();
  listener.close();
  return port;
}

function soon(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("tcpConnect() connects, from the address that it is told", async () => {
  const { listener, port } = listen();
  for (const hostTraddr of [null, "127.0.0.9"]) {
    const accepting = listener.accept();
    const fd = await tcpConnect(new Poller(), to(port, { hostTraddr }), 2000);
    const peer = await accepting;
    assertEquals((peer.remoteAddr as Deno.NetAddr).hostname, hostTraddr ?? "127.0.0.1");
    assertEquals(native().um_socket_send(fd, new Uint8Array([1, 2, 3]), 3), 3);
    const got = new Uint8Array(8);
    assertEquals(await peer.read(got), 3);
    assertEquals(native().um_socket_receive(fd, got, 8), -11, "nothing is there yet, and it does not block");
    peer.close();
    await soon(20);
    assertEquals(native().um_socket_receive(fd, got, 8), 0, "the peer has closed");
    native().um_socket_close(fd, 1);
  }
  listener.close();
});

Deno.test("tcpConnect() says why it cannot connect, at once where the kernel knows", async () => {
  const cases: Array<[TcpEndpoints, number, string]> = [
    [to(deadPort()), ECONNREFUSED, "connection refused"],
    [to(deadPort(), { traddr: "127.0.0.77" }), ECONNREFUSED, "connection refused"],
    [to(4420, { traddr: "not an address" }), EINVAL, "the address is not valid"],
    [to(4420, { traddr: "256.1.1.1" }), EINVAL, "the address is not valid"],
    [to(4420, { hostTraddr: "nonsense" }), EINVAL, "the address from nonsense is not valid"],
    [to(4420, { hostTraddr: "192.0.2.1" }), 99, "no such address on this host from 192.0.2.1"],
    [to(4420, { hostIface: "nosuch0" }), ENODEV, 'there is no interface "nosuch0" on this host'],
  ];
  for (const [endpoints, errno, words] of cases) {
    const took = new Stopwatch();
    const failure = await assertRejects(() => tcpConnect(new Poller(), endpoints, 10_000), ConnectFailure);
    assertEquals([failure.message, failure.errno], [words, errno]);
    took.assertWithin(5000);
  }
});

Deno.test("tcpConnect() gives up in time on an address that does not answer", async () => {
  // Documentation addresses (RFC 5737): silence, or an errno where there is no route.
  const took = new Stopwatch();
  const connecting = tcpConnect(new Poller(), to(4420, { traddr: "192.0.2.1" }), 300);
  const outcome = await connecting.then((fd) => fd, (error) => error);
  if (typeof outcome === "number") {
    // Some networks answer for every address.
    native().um_socket_close(outcome, 1);
    return;
  }
  assert(outcome instanceof ConnectFailure);
  assert(outcome.message.length > 5);
  took.assertWithin(3000);
});

Deno.test("tcpConnect() makes many connections at once over one poller", async () => {
  const { listener, port } = listen();
  const poller = new Poller();
  const dead = deadPort();
  const accepted: Deno.Conn[] = [];
  const accepting = (async () => {
    while (accepted.length < 20) accepted.push(await listener.accept());
  })();
  const attempts = Array.from({ length: 40 }, (_, i) => tcpConnect(poller, to(i % 2 === 0 ? port : dead), 5000));
  const outcomes = await Promise.allSettled(attempts);
  await accepting;
  assertEquals(outcomes.map(({ status }) => status), outcomes.map((_, i) => i % 2 === 0 ? "fulfilled" : "rejected"));
  for (const outcome of outcomes) if (outcome.status === "fulfilled") native().um_socket_close(outcome.value, 1);
  accepted.forEach((conn) => conn.close());
  listener.close();
});

Deno.test("Ring sends and receives over a socket, in one piece and gathered", async () => {
  const { listener, port } = listen();
  const accepting = listener.accept();
  const fd = await tcpConnect(new Poller(), to(port), 2000);
  const peer = await accepting;
  using ring = new Ring({ submissions: 8, completions: 64 });
  using memory = Memory.allocate(8192);
  memory.bytes.set([1, 2, 3, 4]);
  ring.prepSend(fd, memory.address, 4, 0x4000, 5, 1);
  ring.prepReceive(fd, memory.address + 4096, 100, 0, 5, 2);
  ring.turn(0, 0);
  const got = new Uint8Array(8);
  assertEquals(await peer.read(got), 4);
  assertEquals([...got.subarray(0, 4)], [1, 2, 3, 4]);
  await peer.write(new Uint8Array([9, 8, 7]));
  const results = new Map<number, number>();
  for (let turns = 0; results.size < 2 && turns < 100; turns++) {
    ring.turn(0, 100);
    while (ring.next()) results.set(ring.tokenLow, ring.result);
  }
  assertEquals(results, new Map([[1, 4], [2, 3]]));
  assertEquals([...memory.bytes.subarray(4096, 4099)], [9, 8, 7]);
  // After the peer has closed, a receive ends with 0 and a send fails in the end.
  peer.close();
  ring.prepReceive(fd, memory.address, 100, 0, 5, 3);
  ring.turn(0, 2000);
  assert(ring.next());
  assertEquals([ring.tokenLow, ring.result], [3, 0]);
  assertEquals(ring.next(), false);
  native().um_socket_close(fd, 1);
  listener.close();
});
