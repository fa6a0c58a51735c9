/** What a volume does about paths and reads that take long, in the words of people. */
import { UmpathError } from "../base/errors.ts";
import { listWords, quote } from "../base/text.ts";

export const SLOW_PATH_MODES = Object.freeze(["off", "demote"] as const);
export type SlowPathMode = (typeof SLOW_PATH_MODES)[number];
export const SLOW_PATH_DEFAULT: SlowPathMode = "off";

/**
 * What is done about a path that is persistently slower than its peers.
 *
 * @throws UmpathError "usage" if there is no such thing.
 */
export function readSlowPath(word: string): SlowPathMode {
  const found = SLOW_PATH_MODES.find((mode) => mode === word);
  if (found !== undefined) return found;
  throw new UmpathError(
    "usage",
    `Cannot use ${quote(word)} for slow-path: it is not one of ${listWords(SLOW_PATH_MODES)}`,
  );
}
