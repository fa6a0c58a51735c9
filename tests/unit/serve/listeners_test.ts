import { assertEquals, assertThrows } from "@std/assert";
import { EADDRINUSE } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { TARGET_LISTENERS_MAX } from "../../../src/base/limits.ts";
import type { Handshake } from "../../../src/serve/handshake.ts";
import { Listeners, listenerWords } from "../../../src/serve/listeners.ts";
import { FakePoller, FakeSockets } from "./fake_sockets.ts";
import { LogLines } from "./log_lines.ts";

/** Listeners, and the connections that came to them. */
class Rig implements Disposable {
  readonly sockets = new FakeSockets();
  readonly poller = new FakePoller();
  readonly log = new LogLines();
  readonly came: string[] = [];
  readonly listeners = new Listeners(
    this.poller.poller,
    (listener, _fd, peer) => void this.came.push(`${peer} at ${listenerWords(listener)}`),
  );

  add(host: number, trsvcid = 4420) {
    return this.listeners.add({ traddr: `10.0.0.${host}`, trsvcid });
  }

  /** A host comes to the socket that was opened for the n-th time. */
  come(n: number): void {
    [...this.sockets.listeners.values()][n]!.queue.push(this.sockets.open());
    this.poller.ready();
  }

  [Symbol.dispose](): void {
    this.log[Symbol.dispose]();
    this.sockets[Symbol.dispose]();
  }
}

/** A handshake that notes how it was ended. */
function fakeHandshake(): { handshake: Handshake; ended: string[] } {
  const ended: string[] = [];
  const handshake = { close: () => void ended.push("close"), reset: () => void ended.push("reset") };
  return { handshake: handshake as unknown as Handshake, ended };
}

Deno.test("Listeners gives each place a number, and its connections away with it", () => {
  using rig = new Rig();
  const [one, two] = [rig.add(1), rig.add(2)];
  assertEquals([one.description.index, two.description.index, rig.listeners.at(1)], [0, 1, two]);
  rig.come(1);
  rig.come(0);
  assertEquals(rig.came, ["10.0.0.9:50000 at 10.0.0.2:4420", "10.0.0.9:50000 at 10.0.0.1:4420"]);
  assertEquals(rig.listeners.find({ traddr: "10.0.0.2", trsvcid: 4420 }), two);
});

Deno.test("Listeners listens at a place once, and says which is missing", () => {
  using rig = new Rig();
  rig.add(1);
  const twice = assertThrows(() => rig.add(1), UmpathError);
  assertEquals([twice.code, twice.message], [
    "in-use",
    'Cannot listen on "10.0.0.1:4420": this target listens there already',
  ]);
  const none = assertThrows(() => rig.listeners.find({ traddr: "10.0.0.1", trsvcid: 4421 }), UmpathError);
  assertEquals([none.code, none.message], ["not-found", 'No listener "10.0.0.1:4421" is there']);
});

Deno.test("Listeners gives a place that comes back the number that it had", () => {
  using rig = new Rig();
  const [one] = [rig.add(1), rig.add(2)];
  rig.listeners.remove(one);
  assertEquals(rig.listeners.listed.map(listenerWords), ["10.0.0.2:4420"]);
  assertThrows(() => rig.listeners.find(one.description), UmpathError);
  assertEquals([rig.add(3).description.index, rig.add(1).description.index], [2, 0]);
  assertEquals(rig.listeners.listed.map(listenerWords), ["10.0.0.1:4420", "10.0.0.2:4420", "10.0.0.3:4420"]);
});

Deno.test("Listeners has a bound, and takes the number of a place that was removed before it refuses", () => {
  using rig = new Rig();
  for (let host = 1; host <= TARGET_LISTENERS_MAX; host++) rig.add(host);
  const full = assertThrows(() => rig.add(100), UmpathError);
  assertEquals(full.message, `Cannot listen on more than ${TARGET_LISTENERS_MAX} addresses`);
  rig.listeners.remove(rig.listeners.at(5));
  assertEquals(rig.add(100).description.index, 5);
});

Deno.test("Listeners changes nothing where a place cannot be listened to", () => {
  using rig = new Rig();
  rig.add(1);
  rig.sockets.listenErrno = EADDRINUSE;
  assertThrows(() => rig.add(2), UmpathError, "address already in use");
  rig.sockets.listenErrno = 0;
  assertEquals([rig.add(3).description.index, rig.listeners.listed.length], [1, 2]);
});

Deno.test("Listeners.remove() ends the handshakes of a place in order, and takeDown() with a reset", () => {
  using rig = new Rig();
  const [one, two] = [rig.add(1), rig.add(2)];
  const [first, second] = [fakeHandshake(), fakeHandshake()];
  one.handshakes.add(first.handshake);
  two.handshakes.add(second.handshake);
  assertEquals(rig.listeners.handshakes, 2);
  rig.listeners.remove(one);
  rig.listeners.takeDown(two);
  assertEquals([first.ended, second.ended], [["close"], ["reset"]]);
  assertEquals([one.isListed, two.isListed, two.portal], [false, true, null]);
  assertEquals(rig.log.take(), ["info serve: 10.0.0.2:4420 is down"]);
});

Deno.test("Listeners.bringUp() listens again where it is down and was not removed", () => {
  using rig = new Rig();
  const [one, two, three] = [rig.add(1), rig.add(2), rig.add(3)];
  for (const listener of [one, two]) rig.listeners.takeDown(listener);
  rig.log.take();
  rig.listeners.remove(two);
  const portal = three.portal;
  for (const listener of [one, two, three]) rig.listeners.bringUp(listener);
  assertEquals([one.portal === null, two.portal, three.portal], [false, null, portal]);
  assertEquals(rig.log.take(), ["info serve: 10.0.0.1:4420 is up again"]);
  rig.listeners.takeDown(one);
  rig.sockets.listenErrno = EADDRINUSE;
  rig.listeners.bringUp(one);
  assertEquals(
    rig.log.take().at(-1),
    "error serve: Cannot bring 10.0.0.1:4420 up again: " +
      'Cannot listen on "10.0.0.1:4420": address already in use',
  );
});
