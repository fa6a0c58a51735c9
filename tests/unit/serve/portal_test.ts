import { assertEquals, assertThrows } from "@std/assert";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  ECONNABORTED,
  EINTR,
  EINVAL,
  EMFILE,
  ENOBUFS,
} from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { Portal, portalWords } from "../../../src/serve/portal.ts";
import { FakeClock } from "./fake_clock.ts";
import { type FakeListener, FakePoller, FakeSockets } from "./fake_sockets.ts";
import { LogLines } from "./log_lines.ts";

/** A portal and whom it has let in. */
class Rig implements Disposable {
  readonly clock = new FakeClock();
  readonly sockets = new FakeSockets();
  readonly poller = new FakePoller();
  readonly log = new LogLines();
  readonly peers: string[] = [];
  readonly portal: Portal;
  readonly listener: FakeListener;
  /** What taking a connection throws. */
  failure: Error | null = null;

  constructor() {
    this.portal = new Portal(this.poller.poller, { traddr: "10.0.0.1", trsvcid: 0 }, (_fd, peer) => {
      if (this.failure !== null) throw this.failure;
      this.peers.push(peer);
    });
    this.listener = [...this.sockets.listeners.values()][0]!;
  }

  [Symbol.dispose](): void {
    this.portal.close();
    this.log[Symbol.dispose]();
    this.sockets[Symbol.dispose]();
    this.clock[Symbol.dispose]();
  }
}

Deno.test("Portal listens at the port that it was given, and gives connections away with the host's end", () => {
  using rig = new Rig();
  assertEquals([rig.portal.traddr, rig.portal.trsvcid], ["10.0.0.1", 4420]);
  rig.listener.queue.push(rig.sockets.open("10.0.0.9"), -EINTR, -ECONNABORTED, rig.sockets.open("fd00::9"));
  rig.poller.ready();
  assertEquals(rig.peers, ["10.0.0.9:50000", "[fd00::9]:50000"]);
  assertEquals(rig.log.take(), []);
});

Deno.test("Portal takes some connections at a time, so that others come to their turn", () => {
  using rig = new Rig();
  for (let i = 0; i < 40; i++) rig.listener.queue.push(rig.sockets.open());
  rig.poller.ready();
  assertEquals(rig.peers.length, 16);
  rig.poller.ready();
  rig.poller.ready();
  assertEquals(rig.peers.length, 40);
});

Deno.test("Portal says once that it is out of descriptors, and again when no host waits any more", () => {
  using rig = new Rig();
  rig.listener.queue.push(-EMFILE);
  rig.poller.ready();
  assertEquals(rig.log.take(), [
    "error serve: 10.0.0.1:4420 cannot take connections for now: too many open files. Hosts wait until it can",
  ]);
  rig.poller.ready();
  assertEquals(rig.peers, [], "it is not asked at once");
  for (const errno of [EMFILE, ENOBUFS]) {
    rig.listener.queue.push(rig.sockets.open(), -errno);
    rig.clock.advance(200);
    rig.poller.ready();
  }
  assertEquals([rig.log.take(), rig.peers.length], [[], 2], "one that gets through does not end the shortage");
  rig.listener.queue.push(rig.sockets.open());
  for (let i = 0; i < 3; i++) {
    rig.clock.advance(200);
    rig.poller.ready();
  }
  assertEquals(rig.log.take(), ["info serve: 10.0.0.1:4420 takes connections again"]);
  assertEquals(rig.peers.length, 3);
});

Deno.test("Portal closes a connection that cannot be taken, and goes on with the next", () => {
  using rig = new Rig();
  const lost = rig.sockets.open();
  rig.failure = new Error("Cannot map 1 bytes of memory: out of memory");
  rig.listener.queue.push(lost);
  rig.poller.ready();
  assertEquals(rig.log.take(), [
    "error serve: Cannot take the connection of 10.0.0.9:50000: Cannot map 1 bytes of memory: out of memory",
  ]);
  assertEquals(lost.state, "closed");
  rig.failure = null;
  rig.listener.queue.push(rig.sockets.open());
  rig.poller.ready();
  assertEquals(rig.peers.length, 1);
});

Deno.test("Portal.close() listens no more, and asks no more after a shortage", () => {
  using rig = new Rig();
  rig.listener.queue.push(-EMFILE);
  rig.poller.ready();
  rig.portal.close();
  assertEquals([rig.listener.isClosed, rig.poller.watches.size], [true, 0]);
});

Deno.test("new Portal() says in words why it cannot listen there", () => {
  using sockets = new FakeSockets();
  const cases = [
    [EADDRINUSE, "in-use", "address already in use"],
    [EADDRNOTAVAIL, "host-lacks", "no such address on this host"],
    [EACCES, "host-lacks", "permission denied"],
    [EINVAL, "usage", "invalid argument"],
    [ENOBUFS, "host-lacks", "no buffer space available"],
  ] as const;
  for (const [errno, code, why] of cases) {
    sockets.listenErrno = errno;
    const listen = () => new Portal(new FakePoller().poller, { traddr: "fd00::1", trsvcid: 4420 }, () => {});
    const error = assertThrows(listen, UmpathError);
    assertEquals([error.code, error.message], [code, `Cannot listen on "[fd00::1]:4420": ${why}`]);
    assertEquals(error.hint === undefined, errno === ENOBUFS);
  }
});

Deno.test("portalWords() puts an IPv6 address in brackets", () => {
  assertEquals(portalWords("10.0.0.1", 1), "10.0.0.1:1");
  assertEquals(portalWords("fd00::1", 4420), "[fd00::1]:4420");
});
