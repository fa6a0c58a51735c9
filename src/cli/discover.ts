import { Argument, Option } from "@commander-js/extra-typings";
import { alignRows, count, oneLine } from "../base/text.ts";
import { formatDuration, parseDuration } from "../base/units.ts";
import { TIMEOUT_DEFAULTS } from "../settings/timeouts.ts";
import type { Discovery, DiscoveryEntry, DiscoveryService } from "../host/daemon/discovery.ts";
import { pathWords } from "../rpc/path_words.ts";
import type { Declare } from "./commands.ts";
import { entryWords } from "./discovered_paths.ts";
import { askerOf, discoverFrom, identityOf, parseDiscoveryPortal, warnOfReferrals } from "./discovery_calls.ts";
import { commandHelp, withDefault } from "./help.ts";
import type { Output } from "./output.ts";
import { completedBy } from "./word_sources.ts";
import type { PathSpec } from "../rpc/host_api.ts";

const CONNECT_TIMEOUT = "--connect-timeout";
const JQ = `jq -r '.services[].entries[] | select(.subtype == "nvm") | .subsystemNqn'`;

const HELP = commandHelp({
  notes: [
    "Prints the entries of the discovery service at the portal, and of the services that it refers to, one level deep. " +
    "Each entry is on a line: kind, transport, address, port identifier, security, NQN and remarks. Nothing is attached, " +
    "and no daemon is needed.",
    "A portal is ADDR, ADDR:PORT (8009 by default), [IPv6]:PORT or " +
    "tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME.",
  ],
  examples: ["umpath discover 192.0.2.1", `umpath discover 192.0.2.1:4420 --json | ${JQ}`],
});

/** `umpath discover` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Show what a discovery service offers this host.")
    .addArgument(completedBy(
      new Argument("<portal>", "address of the discovery service").argParser<PathSpec>(parseDiscoveryPortal),
      "portals",
    ))
    .option("--hostnqn <nqn>", withDefault("NQN of this host", "/etc/nvme/hostnqn"))
    .option("--hostid <uuid>", withDefault("identifier of this host", "/etc/nvme/hostid"))
    .addOption(completedBy(
      new Option(
        `${CONNECT_TIMEOUT} <duration>`,
        withDefault("time limit for each service", formatDuration(TIMEOUT_DEFAULTS.connectTimeoutMs)),
      ).argParser<number>((word) => parseDuration(word, { name: CONNECT_TIMEOUT })),
      [formatDuration(TIMEOUT_DEFAULTS.connectTimeoutMs)],
    ))
    .addHelpText("after", HELP)
    .action(async (portal, { hostnqn, hostid, connectTimeout }) => {
      const identity = identityOf({ hostNqn: hostnqn, hostId: hostid }, output);
      const asker = askerOf(identity, connectTimeout);
      const words = `${pathWords(portal)} (connect-timeout ${formatDuration(asker.connectTimeoutMs)})`;
      print(await output.waiting(words, discoverFrom(portal, asker)), output);
    });
};

function print({ services, failures }: Discovery, output: Output): void {
  warnOfReferrals(failures, output);
  if (output.json) return output.object({ services: services.map(wireService) });
  for (const service of services) serviceLines(service).forEach((line) => output.line(line));
}

/** A port is a number in all JSON; null: the log has none there. */
function wireService(service: DiscoveryService) {
  const entries = service.entries.map((entry) => ({ ...entry, trsvcid: portOf(entry.trsvcid) }));
  return { ...service, entries };
}

function portOf(word: string): number | null {
  return /^\d{1,5}$/.test(word) ? Number(word) : null;
}

/** A service on one line, and each of its entries on a line of its own. */
export function serviceLines({ portal, generation, entries }: DiscoveryService): string[] {
  const rows = alignRows(entries.map((entry) => [
    entry.subtype,
    entry.transport,
    oneLine(entryWords(entry)),
    `port ${entry.portId}`,
    securityWords(entry),
    oneLine(entry.subsystemNqn),
    remarks(entry),
  ]));
  return [
    `${pathWords(portal)}: ${count(entries.length, "entry", "entries")}, generation ${generation}`,
    ...rows.map((row) => `  ${row.trimEnd()}`),
  ];
}

/** What secures the connection; TLS that is not required is an offer. */
function securityWords({ security, secureChannel }: DiscoveryEntry): string {
  if (security === "none") return "no TLS";
  return secureChannel === "required" ? security : `${security} optional`;
}

function remarks(entry: DiscoveryEntry): string {
  return [
    ...(entry.secureChannel === "required" ? ["TLS required"] : []),
    ...(entry.duplicateInformation ? ["same log at its other portals"] : []),
    ...(entry.persistentConnection ? ["persistent connections allowed"] : []),
  ].join(", ");
}
