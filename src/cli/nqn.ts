import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { DISCOVERY_NQN, nqnFault } from "../host/nqn.ts";

const HINT = "An NQN is nqn.yyyy-mm.reversed.domain[:name] or nqn.2014-08.org.nvmexpress:uuid:UUID";

/** The NQN of a subsystem that can be attached. Errors say which part is wrong. */
export function parseSubsystemNqn(word: string): string {
  const fault = nqnFault(word);
  if (fault !== null) throw new UmpathError("usage", `Cannot use NQN ${quote(word)}: it ${fault}`, { hint: HINT });
  if (word === DISCOVERY_NQN) {
    throw new UmpathError("usage", `Cannot attach ${quote(word)}: a discovery subsystem has no volumes`, {
      hint: "Name the NQN of the subsystem that has the volume",
    });
  }
  return word;
}
