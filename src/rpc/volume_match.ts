/** Which volume a word names: the same for the commands and the daemon. */
import { UmpathError } from "../base/errors.ts";
import { listWords, nearest, quote } from "../base/text.ts";
import type { VolumeInfo } from "./host_api.ts";

/** What volumes are known by. */
export type Selectable = Pick<VolumeInfo, "name" | "device" | "uuid"> & {
  nqn?: string;
  /** NGUID and EUI-64, which it may have beside a UUID. */
  identifiers?: readonly string[];
};

/** True if `word` is the volume's name, its device (`/dev/ublkb0`, `ublkb0`), or its UUID, NGUID or EUI-64. */
export function matchesVolume(volume: Selectable, word: string): boolean {
  return word !== "" && EXACT.some((isMeant) => isMeant(volume, word));
}

/**
 * The volumes that a word can mean: those of which it is the name; else those of which it is the device, an identifier or
 * the NQN; else those whose name begins with it.
 */
export function volumesMeant<V extends Selectable>(volumes: readonly V[], word: string): V[] {
  if (word === "") return [];
  for (const isMeant of [...EXACT, hasNqn, beginsWith]) {
    const meant = volumes.filter((volume) => isMeant(volume, word));
    if (meant.length > 0) return meant;
  }
  return [];
}

/**
 * The one volume that a word means.
 *
 * @throws UmpathError "not-found" if there is none, "usage" with the candidates if there are several.
 */
export function volumeMeant<V extends Selectable>(volumes: readonly V[], word: string): V {
  const [meant, ...others] = volumesMeant(volumes, word);
  if (meant === undefined) throw noVolume(volumes, word);
  if (others.length === 0) return meant;
  const names = [meant, ...others].map(({ name }) => name);
  throw new UmpathError("usage", `Cannot tell which volume ${quote(word)} means: ${listWords(names, "or")}`, {
    hint: "Name the volume by its whole name or its device",
  });
}

function noVolume(volumes: readonly Selectable[], word: string): UmpathError {
  const near = nearest(word, volumes.map(({ name }) => name));
  return new UmpathError("not-found", `No volume ${quote(word)} is attached`, {
    hint: near === null
      ? "umpath list shows the attached volumes"
      : `Did you mean ${near}? umpath list shows the attached volumes`,
  });
}

type IsMeant = (volume: Selectable, word: string) => boolean;

const EXACT: readonly IsMeant[] = [
  ({ name }, word) => name === word,
  ({ device }, word) => device !== null && (word === device || `/dev/${word}` === device),
  ({ uuid, identifiers = [] }, word) => [uuid, ...identifiers].some((id) => id !== "" && bareHex(id) === bareHex(word)),
];
const hasNqn: IsMeant = ({ nqn }, word) => nqn === word;
const beginsWith: IsMeant = ({ name }, word) => name.startsWith(word);

function bareHex(word: string): string {
  return word.toLowerCase().replaceAll("-", "");
}
