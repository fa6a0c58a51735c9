/** Listeners in words: `ADDR[:PORT][,ana=STATE]`. */
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import type { AnaStateName } from "../rpc/host_api.ts";
import { ANA_NAMES } from "../rpc/ana_names.ts";
import type { ListenSpec } from "../rpc/target_api.ts";
import { oneOf } from "./option_words.ts";
import { parsePortal } from "./path_spec.ts";

/** A parser of ANA states by name. */
export const parseAna: (word: string) => AnaStateName = oneOf("the ANA state", ANA_NAMES);

/** The listener that `word` describes. */
export function parseListenSpec(word: string): ListenSpec {
  const [portal, ...options] = word.split(",");
  const spec = { ...parsePortal(portal!, "the listener"), ana: "optimized" as AnaStateName };
  for (const option of options) {
    const ana = /^ana=(.*)$/.exec(option)?.[1];
    if (ana === undefined) {
      throw new UmpathError("usage", `Cannot use listener ${quote(word)}: it has no option ${quote(option)}`, {
        hint: "Write ADDR, ADDR:PORT or ADDR:PORT,ana=STATE",
      });
    }
    spec.ana = parseAna(ana);
  }
  return spec;
}
