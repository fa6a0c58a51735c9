import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { DISCOVERY_NQN, nqnFault, nqnFormFault } from "../settings/nqn.ts";

const HINT = "An NQN is nqn.yyyy-mm.reversed.domain[:name] or nqn.2014-08.org.nvmexpress:uuid:UUID";

/** The name of a subsystem that can be attached. Errors say which part is wrong. */
export function parseSubsystemNqn(word: string): string {
  const refuse = (why: string, hint = HINT) =>
    new UmpathError("usage", `Cannot use NQN ${quote(word)}: ${why}`, { hint });
  const fault = nqnFault(word);
  if (fault !== null) throw refuse(`it ${fault}`);
  if (word === DISCOVERY_NQN) {
    throw refuse("it names the discovery service, which has no volumes", "Give the NQN of a subsystem with volumes");
  }
  if (isPortal(word)) throw refuse("it is an address", "Give the NQN of the subsystem here");
  return word;
}

/** What is unusual about the name of a subsystem, as a warning, or null. Targets accept such names, so they are used. */
export function nqnRemark(nqn: string): string | null {
  const fault = nqnFormFault(nqn);
  return fault === null ? null : `${quote(nqn)} is not a standard NQN: it ${fault}`;
}

/** True for what can only be an address and a port, or the URL of a path: no subsystem is named like that. */
function isPortal(word: string): boolean {
  return /^(tcp:\/\/.*|\d{1,3}(\.\d{1,3}){3}(:\d+)?|\[[0-9a-f:.]*\](:\d+)?)$/i.test(word);
}
