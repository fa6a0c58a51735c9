/** Where the completion of an argument or of an option's value comes from, said where the word is declared. */

/** What a word names; completion asks the daemon, the targets of this host or the host itself for what there is. */
export type WordSource =
  | "volumes"
  | "volumes-and-left"
  | "volume-paths"
  | "portals"
  | "settings"
  | "subsystems"
  | "interfaces"
  | "listeners"
  | "host-addresses"
  | "namespaces"
  | "target-nqns"
  | "target-pids"
  | "faults"
  | "files"
  | readonly string[];

const sources = new WeakMap<object, WordSource>();

/** Gives an argument or an option of the parser its source; returns it. */
export function completedBy<T extends object>(word: T, source: WordSource): T {
  sources.set(word, source);
  return word;
}

/** The source of an argument or of an option's value, or null. */
export function sourceOf(word: object): WordSource | null {
  return sources.get(word) ?? null;
}
