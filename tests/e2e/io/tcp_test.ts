import { assert, assertEquals, assertRejects } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { ECONNREFUSED, EINVAL, ENODEV } from "../../../src/base/errno.ts";
import { Memory } from "../../../src/io/memory.ts";
import { Poller, type Watch } from "../../../src/io/poller.ts";
import { Ring } from "../../../src/io/ring.ts";
import { ConnectFailure, tcpConnect, type TcpEndpoints } from "../../../src/io/tcp.ts";
import { Wake } from "../../../src/io/wake.ts";
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

Deno.test("Poller calls a watch while it is ready, not after it was removed, and not for what it does not want", async () => {
  const poller = new Poller();
  using wake = new Wake();
  using other = new Wake();
  let calls = 0;
  let otherCalls = 0;
  const called = Promise.withResolvers<void>();
  const watch: Watch = {
    fd: wake.fd,
    wantsRead: false,
    wantsWrite: false,
    onReady() {
      wake.drain();
      calls++;
      called.resolve();
    },
  };
  const otherWatch: Watch = { fd: other.fd, wantsRead: true, wantsWrite: false, onReady: () => otherCalls++ };
  poller.add(watch);
  poller.add(otherWatch);
  Wake.signal(wake.fd);
  await soon(30);
  assertEquals(calls, 0);
  watch.wantsRead = true;
  poller.changed();
  await called.promise;
  assertEquals([calls, otherCalls], [1, 0]);
  await poller.remove(watch);
  Wake.signal(wake.fd);
  await soon(30);
  assertEquals(calls, 1);
  poller.add(watch);
  await soon(30);
  assertEquals(calls, 2);
  await poller.remove(watch);
  await poller.remove(otherWatch);
  await poller.remove(otherWatch);
});

Deno.test("Poller does not call a watch that another one has removed in the same round", async () => {
  const poller = new Poller();
  using wakes = new DisposableStack();
  const watches: Watch[] = [];
  let calls = 0;
  for (let i = 0; i < 2; i++) {
    const wake = wakes.use(new Wake());
    Wake.signal(wake.fd);
    watches.push({
      fd: wake.fd,
      wantsRead: true,
      wantsWrite: false,
      onReady() {
        calls++;
        for (const watch of watches) void poller.remove(watch);
      },
    });
  }
  watches.forEach((watch) => poller.add(watch));
  await soon(50);
  assertEquals(calls, 1);
  await Promise.all(watches.map((watch) => poller.remove(watch)));
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
