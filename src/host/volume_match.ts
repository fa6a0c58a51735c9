import type { VolumeInfo } from "./api.ts";

/** True if `word` is the volume's name, its device (`/dev/ublkb0`, `ublkb0`), or its UUID, NGUID or EUI-64. */
export function matchesVolume(volume: Pick<VolumeInfo, "name" | "device" | "uuid">, word: string): boolean {
  if (word === "") return false;
  if (word === volume.name) return true;
  if (volume.device !== null && (word === volume.device || `/dev/${word}` === volume.device)) return true;
  return volume.uuid !== "" && bareHex(word) === bareHex(volume.uuid);
}

function bareHex(word: string): string {
  return word.toLowerCase().replaceAll("-", "");
}
