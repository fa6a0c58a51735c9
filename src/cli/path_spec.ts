/** Paths in words: `ADDR`, `ADDR:PORT`, `[v6]:PORT`, or `tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME`. */
import { UmpathError } from "../base/errors.ts";
import { listWords, quote } from "../base/text.ts";
import { NVME_TCP_PORT } from "../protocol/nvme_tcp.ts";
import { canonicalAddress, interfaceNameFault, isHostAddress, isLinkLocal, isV6 } from "../settings/addresses.ts";
import type { PathName, PathSpec } from "../rpc/host_api.ts";

const HINT = "Write a path as ADDR, ADDR:PORT, [IPv6]:PORT or tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME";
const HINT_NAME = "Host names other than localhost are not resolved: write the IPv4 or IPv6 address";
const LOCALHOST = "127.0.0.1";

/** What is wrong with a path; the parser adds the word. */
class Fault extends Error {
  constructor(message: string, readonly hint = HINT) {
    super(message);
  }
}

/** The path that `word` names, addresses in their canonical form. Errors name the word and its bad part. */
export function parsePathSpec(word: string, { what = "path", portDefault = NVME_TCP_PORT } = {}): PathSpec {
  try {
    return readPathSpec(word, portDefault);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new UmpathError("usage", `Cannot use ${what} ${quote(word)}: ${error.message}`, { hint: error.hint });
  }
}

/** True for what is certainly meant as a path: an address, whatever else may be wrong with it. */
export function isPathWord(word: string): boolean {
  return /^(tcp:\/\/.*|\d{1,3}(\.\d{1,3}){3}(:.*)?|\[[^\]]*\](:.*)?|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*|localhost(:.*)?)$/i
    .test(word);
}

/** A path of a volume: its number, or as {@linkcode parsePathSpec} takes it. */
export function parsePathName(word: string): PathName {
  return /^\d{1,3}$/.test(word) ? { id: Number(word) } : parsePathSpec(word);
}

/** An address and port where this host listens: `ADDR`, `ADDR:PORT`, `[v6]:PORT`; port 0 is a free one. */
export function parsePortal(word: string, what: string): { traddr: string; trsvcid: number } {
  try {
    const { address, port } = splitPortal(word.replace(/^tcp:\/\//, ""), { portMin: 0 });
    if (address === "" || isPort(address)) throw new Fault("the address is missing", addressesHint(port, address));
    if (["0.0.0.0", "::"].includes(address)) {
      throw new Fault("hosts need an address that they can connect to", addressesHint(port));
    }
    return { traddr: readAddress(address, "the address"), trsvcid: port };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const hint = error.hint === HINT ? "Write it as ADDR, ADDR:PORT or [IPv6]:PORT" : error.hint;
    throw new UmpathError("usage", `Cannot use ${what} ${quote(word)}: ${error.message}`, { hint });
  }
}

function isPort(word: string): boolean {
  return /^\d{1,5}$/.test(word);
}

/** The addresses of this host that hosts can connect to, with the port that was given. */
function addressesHint(port: number, word = ""): string {
  const wanted = isPort(word) ? Number(word) : port;
  const addresses = Deno.networkInterfaces().filter(({ address }) => !isLinkLocal(address));
  const portals = addresses.map(({ address, family }) => `${family === "IPv6" ? `[${address}]` : address}:${wanted}`);
  return `This host has ${listWords([...new Set(portals)])}; give one of these`;
}

function readPathSpec(word: string, portDefault: number): PathSpec {
  if (/^nqn\./i.test(word)) throw new Fault("it is an NQN, not an address", "The order is umpath attach NQN -p ADDR");
  const { portal, query } = splitUrl(word);
  const { address, port } = splitPortal(portal, { portDefault });
  const traddr = readAddress(address, "the address");
  const { hostTraddr, hostIface } = readQuery(query);
  if (hostTraddr !== null && isV6(hostTraddr) !== isV6(traddr)) {
    throw new Fault(`${quote(traddr)} and host-traddr ${quote(hostTraddr)} are not of one address family`);
  }
  if (isLinkLocal(traddr) && hostIface === null) {
    throw new Fault("a link-local address needs an interface", "Add ?host-iface=IFNAME to the tcp:// form");
  }
  return { transport: "tcp", traddr, trsvcid: port, hostTraddr, hostIface };
}

function splitUrl(word: string): { portal: string; query: string } {
  if (word === "") throw new Fault("it is empty");
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(word);
  if (!scheme) {
    if (word.includes("?")) throw new Fault("options need the tcp:// form");
    return { portal: word, query: "" };
  }
  if (scheme[1] !== "tcp") throw new Fault(`transport ${quote(scheme[1]!)} is not one of tcp`);
  const rest = word.slice(scheme[0].length);
  const mark = rest.indexOf("?");
  if (mark === -1) return { portal: rest.replace(/\/$/, ""), query: "" };
  return { portal: rest.slice(0, mark).replace(/\/$/, ""), query: rest.slice(mark + 1) };
}

function splitPortal(
  portal: string,
  { portMin = 1, portDefault = NVME_TCP_PORT } = {},
): { address: string; port: number } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/s.exec(portal);
  if (bracketed) {
    const [, address, port] = bracketed;
    if (!address!.includes(":")) throw new Fault(`${quote(address!)} in brackets is not an IPv6 address`);
    return { address: address!, port: port === undefined ? portDefault : readPort(port, portMin) };
  }
  const colons = portal.split(":").length - 1;
  if (colons !== 1) return { address: portal, port: portDefault };
  const [address, port] = portal.split(":");
  return { address: address!, port: readPort(port!, portMin) };
}

function readPort(word: string, min: number): number {
  if (!/^\d{1,5}$/.test(word) || Number(word) < min || Number(word) > 65535) {
    throw new Fault(`port ${quote(word)} is not a number from ${min} to 65535`);
  }
  return Number(word);
}

function readAddress(word: string, what: string): string {
  if (word === "") throw new Fault(`${what} is missing`);
  if (word === "localhost") return LOCALHOST;
  if (word.includes("%")) throw new Fault(`${quote(word)} has a zone`, "Name the interface with host-iface instead");
  const kind = isV6(word) ? "IPv6" : /^[0-9.]+$/.test(word) ? "IPv4" : null;
  if (kind === null) {
    if (!/^[A-Za-z0-9]([A-Za-z0-9._-]*)$/.test(word)) {
      throw new Fault(`${what} ${quote(word)} is not an IPv4 or IPv6 address`);
    }
    throw new Fault(`${what} ${quote(word)} is a name, not an address`, HINT_NAME);
  }
  const canonical = canonicalAddress(word);
  if (canonical === null) throw new Fault(`${what} ${quote(word)} is not an ${kind} address`);
  if (!isHostAddress(canonical)) throw new Fault(`${what} ${quote(word)} is not the address of one host`);
  return canonical;
}

function readQuery(query: string): { hostTraddr: string | null; hostIface: string | null } {
  const result = { hostTraddr: null as string | null, hostIface: null as string | null };
  for (const part of query.split("&").filter((part) => part !== "")) {
    const equals = part.indexOf("=");
    const key = equals === -1 ? part : part.slice(0, equals);
    const value = equals === -1 ? "" : part.slice(equals + 1);
    const slot = key === "host-traddr" ? "hostTraddr" : key === "host-iface" ? "hostIface" : null;
    if (slot === null) throw new Fault(`option ${quote(key)} is not one of host-traddr and host-iface`);
    if (result[slot] !== null) throw new Fault(`option ${key} stands twice`);
    result[slot] = slot === "hostTraddr" ? readHostTraddr(value) : readInterfaceName(value);
  }
  return result;
}

/** The address of this host that `word` names. */
export function parseHostTraddr(word: string): string {
  return parseWord("--host-traddr", word, () => readHostTraddr(word));
}

/** The interface of this host that `word` names. */
export function parseHostIface(word: string): string {
  return parseWord("--host-iface", word, () => readInterfaceName(word));
}

function parseWord(option: string, word: string, read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${option}: ${error.message}`);
  }
}

function readHostTraddr(value: string): string {
  const bracketed = /^\[(.*)\]$/.exec(value);
  return readAddress(bracketed ? bracketed[1]! : value, "host-traddr");
}

function readInterfaceName(value: string): string {
  const fault = interfaceNameFault(value);
  if (fault === null) return value;
  throw new Fault(`host-iface ${fault}`);
}
