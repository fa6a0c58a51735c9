import type { Prng } from "../../src/base/prng.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import type { Spoil } from "./link.ts";
import type { Socket } from "./network.ts";
import type { Scenario } from "./scenario.ts";
import type { World } from "./world.ts";
import type { Portal } from "./portal.ts";

/** A fault that is on. */
interface Active {
  readonly name: string;
  readonly portal: Portal;
  readonly end: () => void;
}

/** What a fault does to a portal: how it is taken away, or null if there is nothing to take away. */
export type Begin = (plan: FaultPlan, portal: Portal) => (() => void) | null;

export const ANA_STATES = Object.values(AnaStateCode);

/** What is waited for longer is not waited for. */
const LONG_MS = 60_000;

/** A log-uniform duration between the two, so that short ones and long ones are equally frequent. */
function between(prng: Prng, fromMs: number, toMs: number): number {
  return fromMs * (toMs / fromMs) ** prng.unit();
}

/** Every fault besides those of the admin side, by its name. */
export const FAULTS: Readonly<Record<string, Begin>> = {
  "link-down": ({ world }, { route }) => {
    route.setDeaf({ toTarget: true, toHost: true });
    return () => world.healRoute(route);
  },
  "deaf-target": ({ world }, { route }) => {
    route.setDeaf({ toTarget: true, toHost: false });
    return () => world.healRoute(route);
  },
  "deaf-host": ({ world }, { route }) => {
    route.setDeaf({ toTarget: false, toHost: true });
    return () => world.healRoute(route);
  },
  "reset-one": (plan, portal) => {
    const sockets = [...portal.route.sockets];
    if (sockets.length > 0) resetOne(sockets[plan.prng.below(sockets.length)]);
    return null;
  },
  "reset-all": (_plan, portal) => {
    for (const socket of [...portal.route.sockets]) resetOne(socket);
    return null;
  },
  "reset-io": (plan, portal) => {
    for (const io of plan.world.iosOf(portal)) resetOne(io.link.socket);
    return null;
  },
  // A controller that loses its host and goes on executing what it has.
  "late-execution": (plan, portal) => {
    const { clock } = plan.world;
    portal.medium.frozenUntilMs = clock.nowMs + between(plan.prng, 100, plan.world.scenario.keepAliveMs);
    clock.after(plan.prng.unit() * 20, () => {
      const how = plan.prng.below(3);
      if (how === 0) FAULTS["reset-io"](plan, portal);
      else for (const socket of [...portal.route.sockets]) resetOne(socket);
    });
    return null;
  },
  freeze: (plan, portal) => {
    const { clock, scenario } = plan.world;
    portal.medium.frozenUntilMs = clock.nowMs + between(plan.prng, 10, scenario.keepAliveMs);
    return null;
  },
  crash: (plan, portal) => {
    const target = plan.world.targetOf(portal);
    if (!target.isUp) return null;
    target.crash();
    return () => target.start();
  },
  // All that a target knows is gone, and hosts do not learn of it before the way is open again.
  "half-open": ({ world }, portal) => {
    const target = world.targetOf(portal);
    portal.route.setDeaf({ toTarget: true, toHost: true });
    if (target.isUp) {
      target.crash();
      target.start();
    }
    return () => world.healRoute(portal.route);
  },
  // No way at all, for longer than requests may have to wait for one.
  blackout: ({ world }) => {
    for (const { route } of world.portals) route.setDeaf({ toTarget: true, toHost: true });
    return () => {
      for (const { route } of world.portals) world.healRoute(route);
    };
  },
  // The namespace shrinks, or grows again in part.
  resize: ({ world, prng }) => {
    world.resize(drawSize(world.scenario, prng));
    return () => world.resize(world.scenario.blocks);
  },
  // From the next connect on a controller grants fewer I/O queues than it did.
  "few-queues": (plan, portal) => {
    portal.ioQueuesMax = 1 + plan.prng.below(plan.world.scenario.queues);
    if (plan.prng.below(2) === 0) FAULTS["reset-all"](plan, portal);
    return () => {
      portal.ioQueuesMax = plan.world.scenario.ioQueuesMax;
      if (plan.prng.below(2) === 0) FAULTS["reset-all"](plan, portal);
    };
  },
  // A worker's thread stands still.
  pause: ({ world, prng }) => {
    const queue = world.queues[prng.below(world.queues.length)];
    queue.pause();
    return () => queue.resume();
  },
  // No portal takes anything.
  "refusals-everywhere": ({ world }) => {
    for (const { faults } of world.portals) faults.softOneIn = 1;
    return () => {
      for (const { faults } of world.portals) faults.softOneIn = 0;
    };
  },
  slow: ({ prng }, { route }) => {
    route.latencyMs += 5 + prng.below(30);
    route.jitterMs += prng.below(20);
    return () => {};
  },
  "tiny-segments": ({ prng }, { route }) => {
    route.segmentBytesMax = 1 + prng.below(200);
    return () => {};
  },
  "slow-drain": ({ prng }, { route }) => {
    route.windowBytes = 1_024 << prng.below(4);
    route.drainBytes = 256 << prng.below(5);
    route.drainMs = 0.5;
    return () => {};
  },
  ana: ({ world, prng }, portal) => {
    world.setAna(portal, ANA_STATES[prng.below(ANA_STATES.length)]);
    return () => world.setAna(portal, AnaStateCode.OPTIMIZED);
  },
  "ana-flapping": ({ world, prng }, portal) => {
    const flap = world.clock.task(() => {
      world.setAna(portal, ANA_STATES[prng.below(ANA_STATES.length)]);
      flap.in(prng.below(40));
    });
    flap.soon();
    return () => {
      flap.cancel();
      world.setAna(portal, AnaStateCode.OPTIMIZED);
    };
  },
  refusals: ({ prng, world }, { faults }) => {
    faults.softOneIn = 1 + prng.below(20);
    if (world.scenario.hasHardErrors) faults.hardOneIn = 5 + prng.below(20);
    return () => {
      faults.softOneIn = faults.hardOneIn = 0;
    };
  },
  "dropped-answers": ({ prng }, { faults }) => {
    faults.dropOneIn = 10 + prng.below(40);
    return () => {
      faults.dropOneIn = 0;
    };
  },
  "late-answers": ({ prng, world }, { faults }) => {
    faults.delayOneIn = 1 + prng.below(10);
    faults.delayMs = between(prng, 1, 2 * world.scenario.ioTimeoutMs);
    return () => {
      faults.delayOneIn = 0;
    };
  },
  "bad-header-to-host": (plan, portal) => spoilSome(plan, plan.world.iosOf(portal), "header"),
  "duplicate-answer": (plan, portal) => spoilSome(plan, plan.world.iosOf(portal), "duplicate"),
  "bad-header-to-target": (plan, portal) => spoilSome(plan, plan.world.hostLinksOf(portal), "header"),
  // What a digest covers is changed on the way, or the digest is wrong.
  "bad-bit-to-host": (plan, portal) => spoilBit(plan, plan.world.iosOf(portal)),
  "bad-bit-to-target": (plan, portal) => spoilBit(plan, plan.world.hostLinksOf(portal)),
  "bad-bit-admin": (plan, portal) =>
    spoilBit(plan, [...plan.world.controlsOf(portal), ...plan.world.hostAdminsOf(portal)]),
  "wrong-digests": ({ prng }, { faults }) => {
    faults.wrongDigestOneIn = 3 + prng.below(40);
    return () => {
      faults.wrongDigestOneIn = 0;
    };
  },
  "bad-header-admin": (plan, portal) => spoilSome(plan, plan.world.controlsOf(portal), "header"),
};

/** At least half of the blocks there are. */
export function drawSize({ blocks }: Scenario, prng: Prng): number {
  return Math.ceil(blocks / 2) + prng.below(blocks / 2);
}

function resetOne(socket: Socket): void {
  socket.handleReset();
  socket.outgoing.end("reset");
}

function spoilSome(
  { prng }: FaultPlan,
  ends: readonly { readonly link: { spoil: Spoil | null } }[],
  spoil: Spoil,
): null {
  if (ends.length > 0) ends[prng.below(ends.length)].link.spoil = spoil;
  return null;
}

function spoilBit(plan: FaultPlan, ends: readonly { readonly link: { spoil: Spoil | null } }[]): null {
  const { digests, broken } = plan.world.scenario;
  if (digests.header || digests.data || broken.changesBareData === true) spoilSome(plan, ends, "bit");
  return null;
}

/** Decides when which fault begins and ends. */
export class FaultPlan {
  readonly world: World;
  readonly prng: Prng;
  readonly #faults: Readonly<Record<string, Begin>>;
  readonly #names: string[];
  readonly #active = new Set<Active>();
  #nextAt: number;
  #isOver = false;
  begun = 0;

  constructor(world: World, prng: Prng, faults: Readonly<Record<string, Begin>>) {
    this.#faults = faults;
    this.world = world;
    this.prng = prng;
    // A seed knows some of the faults and not the others, so that rare meetings are not hidden behind frequent ones.
    const all = Object.keys(faults);
    this.#names = all.filter(() => prng.below(3) > 0);
    if (this.#names.length === 0) this.#names = all;
    this.#nextAt = this.#drawGap();
  }

  #drawGap(): number {
    return 1 + Math.floor(-Math.log(1 - this.prng.unit()) * this.world.scenario.iosPerFault);
  }

  get active(): number {
    return this.#active.size;
  }

  /** A request was issued. */
  handleIssue(issued: number): void {
    if (this.#isOver || issued < this.#nextAt) return;
    this.#nextAt = issued + this.#drawGap();
    const name = this.#names[this.prng.below(this.#names.length)];
    const { portals } = this.world;
    const portal = portals[this.prng.below(portals.length)];
    this.#begin(name, portal);
    // Troubles come in company.
    if (this.prng.below(4) === 0) this.#begin(name, portals[this.prng.below(portals.length)]);
  }

  #begin(name: string, portal: Portal): void {
    for (const active of this.#active) if (active.name === name && active.portal === portal) return;
    this.begun++;
    this.world.handleFault(`fault: ${name} at portal ${portal.index}`);
    const end = this.#faults[name](this, portal);
    if (end === null) return;
    const active: Active = { name, portal, end };
    this.#active.add(active);
    const { keepAliveMs, connectTimeoutMs, noPathTimeoutMs, writeHoldMs } = this.world.scenario;
    const isLong = name === "blackout" && noPathTimeoutMs < LONG_MS;
    const maxMs = isLong ? 3 * noPathTimeoutMs + writeHoldMs + 10_000 : 2 * keepAliveMs + connectTimeoutMs;
    this.world.clock.after(between(this.prng, 5, maxMs), () => this.#end(active));
  }

  #end(active: Active): void {
    if (!this.#active.delete(active)) return;
    this.world.handleFault(`fault: ${active.name} at portal ${active.portal.index} is over`);
    active.end();
    active.portal.calmRoute();
  }

  /** Everything is well from now on. */
  stop(): void {
    this.#isOver = true;
    for (const active of [...this.#active]) this.#end(active);
    // The last size counts, and it need not be the one at the beginning.
    if (this.#names.includes("resize")) this.world.resize(drawSize(this.world.scenario, this.prng));
    for (const portal of this.world.portals) {
      portal.medium.frozenUntilMs = 0;
      const { world } = this;
      const ends = [
        world.iosOf(portal),
        world.controlsOf(portal),
        world.hostLinksOf(portal),
        world.hostAdminsOf(portal),
      ];
      for (const { link } of ends.flat()) link.spoil = null;
    }
  }
}
