/** What is an address of one host, and what is the name of a network interface. Faults are the end of "it …". */
import { quote } from "../base/text.ts";

/** IFNAMSIZ is 16, the terminating zero included. */
const INTERFACE_NAME_BYTES_MAX = 15;

/** True for an address that can only be IPv6. */
export function isV6(address: string): boolean {
  return address.includes(":");
}

/** The address in its canonical form, or null if it is neither IPv4 nor IPv6. */
export function canonicalAddress(word: string): string | null {
  if (isV6(word)) return canonicalV6(word);
  const parts = word.split(".");
  const isV4 = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  return isV4 ? word : null;
}

function canonicalV6(word: string): string | null {
  if (!/^[0-9A-Fa-f:.]+$/.test(word)) return null;
  return URL.parse(`http://[${word}]/`)?.hostname.slice(1, -1) ?? null;
}

/** True if a canonical address is that of a single host: no wildcard, no group. */
export function isHostAddress(canonical: string): boolean {
  if (isV6(canonical)) return canonical !== "::" && !canonical.startsWith("ff");
  const first = Number(canonical.split(".")[0]);
  return first > 0 && first < 224;
}

/** True for an address that means nothing without an interface. */
export function isLinkLocal(canonical: string): boolean {
  return /^fe[89ab]/.test(canonical);
}

/** What is wrong with the address of a host in its canonical form, or null. */
export function hostAddressFault(word: string): string | null {
  const canonical = canonicalAddress(word);
  if (canonical === null) return `is ${quote(word.slice(0, 64))}, not an IPv4 or IPv6 address`;
  if (!isHostAddress(canonical)) return `is ${quote(word)}, not the address of one host`;
  return canonical === word ? null : `is ${quote(word)}, not written as ${quote(canonical)}`;
}

/** What is wrong with the name of an interface by what the kernel takes (dev_valid_name), or null. */
export function interfaceNameFault(name: string): string | null {
  if (name === "") return "is empty";
  if (new TextEncoder().encode(name).length > INTERFACE_NAME_BYTES_MAX) {
    return `${quote(name)} is longer than ${INTERFACE_NAME_BYTES_MAX} bytes`;
  }
  // No terminal should get a control character.
  const isName = name !== "." && name !== ".." && !/[/:\s\p{Cc}]/u.test(name);
  return isName ? null : `${quote(name)} is not the name of an interface`;
}
