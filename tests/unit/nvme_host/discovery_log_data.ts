/** Discovery logs for tests, written byte by byte with the offsets of Base 2.0, figures 263 and 264, as numbers. */
import { put } from "./fake_controller.ts";

/** One entry; what is not told is that of an NVM subsystem on TCP. */
export interface EntryData {
  trtype?: number;
  adrfam?: number;
  subtype?: number;
  treq?: number;
  portid?: number;
  cntlid?: number;
  asqsz?: number;
  eflags?: number;
  trsvcid?: string;
  subnqn?: string;
  traddr?: string;
  sectype?: number;
  /** What the texts are padded with: 0x20 or 0. */
  padding?: number;
}

/** 1024 bytes. */
export function entryData(entry: EntryData): Uint8Array {
  const data = new Uint8Array(1024);
  put(data, 0, 1, entry.trtype ?? 3);
  put(data, 1, 1, entry.adrfam ?? 1);
  put(data, 2, 1, entry.subtype ?? 2);
  put(data, 3, 1, entry.treq ?? 0);
  put(data, 4, 2, entry.portid ?? 1);
  put(data, 6, 2, entry.cntlid ?? 0xffff);
  put(data, 8, 2, entry.asqsz ?? 32);
  put(data, 10, 2, entry.eflags ?? 0);
  text(data, { at: 32, bytes: 32, words: entry.trsvcid ?? "4420", padding: entry.padding ?? 0x20 });
  text(data, { at: 256, bytes: 256, words: entry.subnqn ?? "nqn.2026-11.io.test:vol", padding: 0 });
  text(data, { at: 512, bytes: 256, words: entry.traddr ?? "192.0.2.1", padding: entry.padding ?? 0x20 });
  put(data, 768, 1, entry.sectype ?? 0);
  return data;
}

function text(
  data: Uint8Array,
  { at, bytes, words, padding }: { at: number; bytes: number; words: string; padding: number },
): void {
  const encoded = new TextEncoder().encode(words);
  for (let i = 0; i < bytes; i++) data[at + i] = i < encoded.length ? encoded[i] : padding;
}

/** A whole log: 1024 bytes of header and the entries. */
export function discoveryLogData(
  entries: readonly EntryData[],
  { genctr = 1, numrec = entries.length, recfmt = 0 }: { genctr?: number; numrec?: number | bigint; recfmt?: number } =
    {},
): Uint8Array {
  const data = new Uint8Array(1024 * (1 + entries.length));
  put(data, 0, 8, genctr);
  put(data, 8, 8, numrec);
  put(data, 16, 2, recfmt);
  entries.forEach((entry, i) => data.set(entryData(entry), 1024 * (i + 1)));
  return data;
}
