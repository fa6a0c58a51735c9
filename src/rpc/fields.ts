/**
 * Checks of values that came from elsewhere as JSON. A table of fields is an object of checks, one for each field; what
 * is read from a peer is compared with it before anything is done with it. A check gives null, or what is wrong.
 */
import { messageOf } from "../base/errors.ts";
import { listWords, quote } from "../base/text.ts";

/** What is wrong with a value, and where in it. */
export interface FieldFault {
  /** The field, as `paths[0].traddr`; empty: the value itself. */
  at: string;
  /** The rest of a sentence that begins with the field: `is not a number from 1 to 64`. */
  why: string;
}

/** Gives what is wrong with a value, or null. */
export type Check = (value: unknown) => FieldFault | null;

/** A check for each field of `T`; a field that may be missing has one that takes undefined. */
export type Fields<T> = { readonly [K in keyof Required<T>]: Check };

/** A range of whole numbers, both ends included. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** Longest value that a fault quotes. */
const QUOTED_LENGTH_MAX = 64;

/** A whole number of the range. */
export function whole({ min, max }: Range): Check {
  return (value) => {
    const isGood = typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max;
    return isGood ? null : fault(value, `a whole number from ${min} to ${max}`);
  };
}

/** True or false. */
export const flag: Check = (value) => typeof value === "boolean" ? null : fault(value, "true or false");

/** A text of so many characters at least and at most. */
export function text({ min = 0, max }: { min?: number; max: number }): Check {
  return (value) => {
    if (typeof value !== "string") return fault(value, "a text");
    if (value.length < min) return { at: "", why: "is empty" };
    return value.length <= max ? null : { at: "", why: `is longer than ${max} characters` };
  };
}

/** A text that `faultOf` finds nothing wrong with; what it finds is the end of a sentence about the field. */
export function textThat(faultOf: (word: string) => string | null): Check {
  return (value) => {
    if (typeof value !== "string") return fault(value, "a text");
    const why = faultOf(value);
    return why === null ? null : { at: "", why };
  };
}

/** A text that `parse` takes; the message of what it throws says what is wrong. */
export function parsedBy(parse: (word: string) => unknown): Check {
  return textThat((word) => {
    try {
      parse(word);
      return null;
    } catch (error) {
      return `is wrong: ${messageOf(error)}`;
    }
  });
}

/** One of these words. */
export function choice(words: readonly string[]): Check {
  return (value) => words.includes(value as string) ? null : fault(value, `one of ${listWords(words)}`);
}

/** What `check` takes, or null. */
export function nullable(check: Check): Check {
  return (value) => value === null ? null : check(value);
}

/** What `check` takes, or nothing. */
export function optional(check: Check): Check {
  return (value) => value === undefined ? null : check(value);
}

/** What one of the checks takes; the fault is that of the last. */
export function either(...checks: readonly [Check, ...Check[]]): Check {
  return (value) => {
    const faults = checks.map((check) => check(value));
    return faults.includes(null) ? null : faults.at(-1)!;
  };
}

/** A list of so many items at least and at most, each of which `item` takes. */
export function list(item: Check, { min = 0, max }: { min?: number; max: number }): Check {
  return (value) => {
    if (!Array.isArray(value)) return fault(value, "a list");
    if (value.length < min) return { at: "", why: "is empty" };
    if (value.length > max) return { at: "", why: `has ${value.length} items, more than ${max}` };
    return firstFault(value.map((each, i) => within(`[${i}]`, item(each))));
  };
}

/** An object that has these fields and no other. */
export function record<T>(fields: Fields<T>): Check {
  const checks = new Map(Object.entries(fields) as [string, Check][]);
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fault(value, "an object");
    const unknown = Object.keys(value).find((name) => !checks.has(name));
    if (unknown !== undefined) return { at: named(unknown), why: "is not known" };
    const values = value as Record<string, unknown>;
    return firstFault([...checks].map(([name, check]) => within(named(name), check(values[name]))));
  };
}

function firstFault(faults: (FieldFault | null)[]): FieldFault | null {
  return faults.find((each) => each !== null) ?? null;
}

function within(outer: string, inner: FieldFault | null): FieldFault | null {
  if (inner === null) return null;
  const joint = inner.at === "" || inner.at.startsWith("[") ? "" : ".";
  return { at: `${outer}${joint}${inner.at}`, why: inner.why };
}

function named(field: string): string {
  return /^[a-zA-Z]+$/.test(field) ? field : shortened(quote(field));
}

function fault(value: unknown, wanted: string): FieldFault {
  if (value === undefined) return { at: "", why: "is missing" };
  return { at: "", why: `is ${shortened(JSON.stringify(value) ?? String(value))}, not ${wanted}` };
}

function shortened(words: string): string {
  return words.length <= QUOTED_LENGTH_MAX ? words : `${words.slice(0, QUOTED_LENGTH_MAX)}…`;
}
