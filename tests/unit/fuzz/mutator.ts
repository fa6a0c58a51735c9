/** What fuzzing does to valid bytes and words. */
import { joinBytes } from "../../../src/base/bytes.ts";
import type { Prng } from "../../../src/base/prng.ts";

const EXTREMES = [0, 1, 3, 4, 7, 8, 23, 24, 25, 72, 127, 128, 255, 256, 511, 512, 4095, 4096, 9216, 9217, 65535];
const EXTREMES_32 = [...EXTREMES, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 24, 2 ** 32 - 4, 2 ** 32 - 1];

export interface MutatorOptions {
  /** Offsets of numbers that say something of lengths and places; by default any, and more often those that are not 0. */
  fields?: readonly number[];
  /** Other valid bytes, to splice with. */
  other?: Uint8Array;
}

type Mutation = (prng: Prng, bytes: Uint8Array, options: MutatorOptions) => Uint8Array;

const MUTATIONS: Mutation[] = [
  function flipBit(prng, bytes) {
    if (bytes.length > 0) bytes[prng.below(bytes.length)] ^= 1 << prng.below(8);
    return bytes;
  },
  function changeByte(prng, bytes) {
    if (bytes.length > 0) bytes[prng.below(Math.min(bytes.length, 32))] = pick(prng, EXTREMES);
    return bytes;
  },
  function changeField(prng, bytes, options) {
    const at = fieldOf(prng, bytes, options);
    if (at < 0) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (at % 4 === 0 && prng.below(2) === 0) view.setUint32(at, pick(prng, EXTREMES_32), true);
    else view.setUint16(at, pick(prng, EXTREMES), true);
    return bytes;
  },
  function nudgeField(prng, bytes, options) {
    const at = fieldOf(prng, bytes, options) & ~3;
    if (at < 0) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint32(at, view.getUint32(at, true) + pick(prng, [-4, -1, 1, 4, 8, 512]), true);
    return bytes;
  },
  (prng, bytes) => bytes.slice(0, prng.below(bytes.length)),
  (prng, bytes) => bytes.slice(prng.below(bytes.length)),
  (prng, bytes) => joinBytes([bytes.slice(0, prng.below(bytes.length)), garbage(prng, 64), bytes]),
  (_, bytes) => joinBytes([bytes, bytes]),
  function doublePart(prng, bytes) {
    const from = prng.below(bytes.length + 1), to = from + prng.below(bytes.length - from + 1);
    return joinBytes([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  function splice(prng, bytes, { other = bytes }) {
    return joinBytes([bytes.subarray(0, prng.below(bytes.length + 1)), other.subarray(prng.below(other.length + 1))]);
  },
  (prng) => garbage(prng, 4096),
  () => new Uint8Array(0),
];

/** A copy of the bytes with one thing wrong with them, or a few. */
export function mutate(prng: Prng, bytes: Uint8Array, options: MutatorOptions = {}): Uint8Array {
  let mutated: Uint8Array = bytes.slice();
  for (let times = prng.below(4) === 0 ? 1 + prng.below(4) : 1; times > 0; times--) {
    mutated = pick(prng, MUTATIONS)(prng, mutated, options);
  }
  return mutated;
}

/** The same for bytes whose number does not change. */
export function mutateInPlace(prng: Prng, bytes: Uint8Array, options: MutatorOptions = {}): Uint8Array<ArrayBuffer> {
  const mutated = mutate(prng, bytes, options).subarray(0, bytes.length);
  const whole = new Uint8Array(bytes);
  whole.set(mutated);
  return whole;
}

/** Up to so many bytes, which look like the header of a PDU often enough. */
export function garbage(prng: Prng, bytesMax: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1 + prng.below(bytesMax));
  for (let i = 0; i < bytes.length; i++) bytes[i] = prng.below(256);
  if (prng.below(2) === 0) bytes[0] = prng.below(10);
  if (prng.below(2) === 0 && bytes.length > 2) bytes[2] = 24;
  return bytes;
}

export function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}

/** An offset with 4 bytes behind it, or -1. */
function fieldOf(prng: Prng, bytes: Uint8Array, { fields }: MutatorOptions): number {
  let at = fields === undefined ? 2 * prng.below(bytes.length >> 1) : pick(prng, fields);
  // Structures are mostly zeroes.
  for (let tries = 0; tries < 16 && fields === undefined && bytes[at] === 0; tries++) {
    at = 2 * prng.below(bytes.length >> 1);
  }
  return at + 4 <= bytes.length ? at : -1;
}

/** What no word should have, or what means something in some words. */
const TOKENS = [
  ...[
    "",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\x1b[31m",
    "\x7f",
    "\x9b2J",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ufffd",
    "\ud800",
  ],
  ...[
    "=",
    ",",
    ":",
    "/",
    "//",
    "?",
    "&",
    "%",
    "%00",
    "[",
    "]",
    "..",
    "*",
    "+",
    "-",
    "_",
    "#",
    '"',
    "'",
    "\\",
    "{",
    "}",
  ],
  ...[
    "0",
    "-1",
    "1e9",
    "0x",
    "0x10",
    "00",
    "4294967296",
    "9007199254740993",
    "99999999999999999999",
    "NaN",
    "Infinity",
  ],
  ...[
    "1.5",
    ".5",
    "١",
    "９",
    "é",
    "😀",
    "off",
    "none",
    "null",
    "all",
    "__proto__",
    "constructor",
    "toString",
    "tcp://",
  ],
  ...["::", "[::1]", "fe80::1", "127.0.0.1", "nqn.", "a".repeat(300), "1".repeat(400), "é".repeat(120)],
];

type TextMutation = (prng: Prng, text: string, other: string) => string;

const TEXT_MUTATIONS: TextMutation[] = [
  (prng, text) => spliceText(prng, text, 1, ""),
  (prng, text) => spliceText(prng, text, 1 + prng.below(text.length), ""),
  (prng, text) => spliceText(prng, text, 0, pick(prng, TOKENS)),
  (prng, text) => spliceText(prng, text, 1, pick(prng, TOKENS)),
  (prng, text) => spliceText(prng, text, 1, String.fromCharCode(prng.below(prng.below(4) === 0 ? 65536 : 256))),
  (prng, text) => text + pick(prng, TOKENS),
  (prng, text) => pick(prng, TOKENS) + text,
  (_, text) => text + text,
  (prng, text, other) => text.slice(0, prng.below(text.length + 1)) + other.slice(prng.below(other.length + 1)),
  (prng, text) => prng.below(2) === 0 ? text.toUpperCase() : text.toLowerCase(),
  (prng) => pick(prng, TOKENS),
];

/** The text with one thing wrong with it, or a few. */
export function mutateText(prng: Prng, text: string, other = text): string {
  let mutated = text;
  for (let times = prng.below(2) === 0 ? 1 + prng.below(4) : 1; times > 0; times--) {
    mutated = pick(prng, TEXT_MUTATIONS)(prng, mutated, other);
  }
  return mutated;
}

function spliceText(prng: Prng, text: string, characters: number, by: string): string {
  const at = prng.below(text.length + 1);
  return text.slice(0, at) + by + text.slice(at + characters);
}
