/** What goes wrong on one path of a network, and how long I/O may take meanwhile. */
import type { Longest } from "./latency_probe.ts";
import type { Direction, Network } from "./network.ts";

/** The path that gets into trouble. */
export const SICK = 1;
/** Deadlines of I/O are looked at so often. */
export const DEADLINE_TICK_MS = 100;

/** What a path costs that is not lost; lost, which is known at once; lost in silence; or slow because TCP sends again. */
type Cost = "unnoticed" | "at-once" | "after-silence" | "after-resending";

export interface Trouble {
  begin: (network: Network) => Promise<void>;
  end: (network: Network) => Promise<void>;
  /** Whether the path is lost. */
  isLost: boolean | "perhaps";
  cost: Cost;
}

/** The volume's times that decide how long I/O takes, and what the machine may take besides, in milliseconds. */
export interface Promised {
  keepAliveMs: number;
  ioTimeoutMs: number;
  writeHoldMs: number;
  busyMs: number;
}

const BOTH_WAYS = ["from-host", "to-host"] as const;

function rule(directions: readonly Direction[], words: string): Pick<Trouble, "begin" | "end"> {
  return {
    begin: (network) => network.addRule(SICK, [...directions], words),
    end: (network) => network.clearRules(SICK),
  };
}

function silence(directions: readonly Direction[]): Trouble {
  return { ...rule(directions, "drop"), isLost: true, cost: "after-silence" };
}

function addressRemoved(side: "host" | "storage"): Trouble {
  return {
    begin: (network) => network.removeAddress(side, SICK),
    end: (network) => network.addAddress(side, SICK),
    isLost: true,
    cost: "after-silence",
  };
}

/** By what goes wrong. */
export const TROUBLES: Readonly<Record<string, Trouble>> = {
  "link down": {
    begin: (network) => network.setLink(SICK, "down"),
    end: (network) => network.setLink(SICK, "up"),
    isLost: true,
    cost: "after-silence",
  },
  "silent drop both ways": silence(BOTH_WAYS),
  "one-way loss from the host": silence(["from-host"]),
  "one-way loss to the host": silence(["to-host"]),
  "reset of every connection": {
    ...rule(["from-host"], "meta l4proto tcp reject with tcp reset"),
    isLost: true,
    cost: "at-once",
  },
  "the host's address removed": addressRemoved("host"),
  "the storage system's address removed": addressRemoved("storage"),
  "1 % loss both ways": {
    ...rule(BOTH_WAYS, "numgen random mod 100 == 0 drop"),
    isLost: "perhaps",
    cost: "after-resending",
  },
};

/** One packet of twenty gets 64 other bits behind the header of its first PDU, nearly always data, past TCP's checksum. */
export const CORRUPTION = rule(BOTH_WAYS, "meta length > 1000 numgen random mod 20 == 0 @th,768,8 set 0x55");

/**
 * The longest read and write. A path that falls silent is given up by what comes first, a keep-alive that is not
 * answered or an I/O; TCP that sends again waits longer each time, until the I/O is too late. A write that was in flight
 * on a path that is lost is held besides.
 */
export function longestOf(cost: Cost, { keepAliveMs, ioTimeoutMs, writeHoldMs, busyMs }: Promised): Longest {
  const late = ioTimeoutMs + DEADLINE_TICK_MS;
  const untilLost = {
    "unnoticed": 0,
    "at-once": 0,
    "after-silence": Math.min(keepAliveMs, late),
    "after-resending": late,
  };
  const read = untilLost[cost] + busyMs;
  return { read, write: read + (cost === "unnoticed" ? 0 : writeHoldMs) };
}
