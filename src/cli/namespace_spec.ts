/** Namespaces in words: `FILE` or `ram=SIZE`, and after commas `nsid=N`, `bs=512|4096`, `uuid=UUID`, `size=SIZE`, `ro`. */
import { UmpathError } from "../base/errors.ts";
import { NAMESPACES_MAX } from "../base/limits.ts";
import { quote } from "../base/text.ts";
import { parseSize } from "../base/units.ts";
import { isUuid } from "../settings/nqn.ts";
import type { NamespaceBacking, NamespaceSpec } from "../rpc/target_api.ts";
import { wholeNumber } from "./option_words.ts";

/** Largest NSID that is given out: lists of namespaces stay short. */
const NSID_MAX = 1024;
const HINT = "Write FILE or ram=SIZE, then any of ,nsid=N ,bs=512|4096 ,uuid=UUID ,size=SIZE ,ro";

/** A namespace as its words say it; what is null is said elsewhere. */
export interface NamespaceWords {
  readonly backing: NamespaceBacking;
  readonly nsid: number | null;
  readonly blockSize: 512 | 4096 | null;
  readonly uuid: string | null;
  readonly readOnly: boolean;
}

/** The namespace that `word` describes. */
export function parseNamespaceSpec(word: string): NamespaceWords {
  const [store, ...options] = word.split(",");
  const values = new Map<string, string>();
  for (const option of options) {
    const [, key, value] = /^([a-z]+)(?:=(.*))?$/.exec(option) ?? [];
    const isKnown = key === "ro" ? value === undefined : ["nsid", "bs", "uuid", "size"].includes(key ?? "") && value;
    if (!isKnown) throw fault(word, `it has no option ${quote(option)}`);
    if (values.has(key!)) throw fault(word, `option ${key} stands twice`);
    values.set(key!, value ?? "");
  }
  const size = values.get("size"), nsid = values.get("nsid"), bs = values.get("bs"), uuid = values.get("uuid");
  return {
    backing: parseBacking(word, store!, size === undefined ? null : parsePositiveSize(size, "size")),
    nsid: nsid === undefined ? null : wholeNumber("nsid", { min: 1, max: NSID_MAX })(nsid),
    blockSize: bs === undefined ? null : parseBlockSize(bs),
    uuid: uuid === undefined ? null : parseUuid(uuid),
    readOnly: values.has("ro"),
  };
}

function parseBacking(word: string, store: string, sizeBytes: number | null): NamespaceBacking {
  if (store === "") throw fault(word, "it names no file");
  const ram = /^ram=(.*)$/.exec(store)?.[1];
  if (ram === undefined) return { type: "file", path: store, sizeBytes };
  if (sizeBytes !== null) throw fault(word, "the size of memory stands behind ram= already");
  return { type: "ram", sizeBytes: parsePositiveSize(ram, "ram") };
}

/** Sizes of namespaces: whole blocks, of the largest kind of block that there is. */
export function parsePositiveSize(word: string, name: string): number {
  const bytes = parseSize(word, name);
  if (bytes > 0 && bytes % 4096 === 0) return bytes;
  const why = bytes === 0 ? "nothing can be stored in it" : "it is not a multiple of 4 KiB";
  throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: ${why}`);
}

/** 512 or 4096. */
export function parseBlockSize(word: string): 512 | 4096 {
  if (word === "512") return 512;
  if (word === "4096" || word.toUpperCase() === "4K") return 4096;
  throw new UmpathError("usage", `Cannot use ${quote(word)} for the block size: it is neither 512 nor 4096`);
}

/** A UUID in text form, in lower case. */
export function parseUuid(word: string): string {
  if (isUuid(word)) return word.toLowerCase();
  throw new UmpathError("usage", `Cannot use ${quote(word)} for a UUID: it is not one`, {
    hint: "Write it as 8-4-4-4-12 hexadecimal digits, not all zero",
  });
}

/** Gives every namespace a number: those without one the lowest that are free, in their order. */
export function numberNamespaces(words: readonly NamespaceWords[], blockSize: 512 | 4096): NamespaceSpec[] {
  if (words.length > NAMESPACES_MAX) {
    throw new UmpathError("usage", `Cannot serve more than ${NAMESPACES_MAX} namespaces`);
  }
  const used = new Set<number>();
  for (const { nsid } of words) {
    if (nsid === null) continue;
    if (used.has(nsid)) throw new UmpathError("usage", `Cannot serve two namespaces ${nsid}`);
    used.add(nsid);
  }
  let next = 1;
  return words.map((namespace) => {
    while (namespace.nsid === null && used.has(next)) next++;
    const nsid = namespace.nsid ?? next;
    used.add(nsid);
    return { ...namespace, nsid, blockSize: namespace.blockSize ?? blockSize };
  });
}

function fault(word: string, why: string): UmpathError {
  return new UmpathError("usage", `Cannot use namespace ${quote(word)}: ${why}`, { hint: HINT });
}
