/** Options in words: whole numbers in a range, choices, names. */
import { UmpathError } from "../base/errors.ts";
import { Option } from "@commander-js/extra-typings";
import { listWords, nearest, quote } from "../base/text.ts";
import { volumeNameFault } from "../settings/volume_name.ts";

/** A parser of whole numbers from `min` to `max`, decimal or 0x…, for the option `name`. */
export function wholeNumber(name: string, range: { min: number; max: number }): (word: string) => number {
  return (word) => {
    const number = /^(\d{1,15}|0x[0-9a-f]{1,12})$/i.test(word) ? Number(word) : NaN;
    if (number >= range.min && number <= range.max) return number;
    const message = `Cannot use ${quote(word)} for ${name}: it is not a number from ${range.min} to ${range.max}`;
    throw new UmpathError("usage", message);
  };
}

/** A parser of one of several words for the option `name`. `guess: false`: other words exist, and are no typing errors. */
export function oneOf<const T extends string>(
  name: string,
  choices: readonly T[],
  { guess = true }: { guess?: boolean } = {},
): (word: string) => T {
  return (word) => {
    const choice = choices.find((candidate) => candidate === word);
    if (choice !== undefined) return choice;
    const near = guess ? nearest(word, choices) : null;
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: it is not one of ${listWords(choices)}`, {
      hint: near === null ? undefined : `Did you mean ${near}?`,
    });
  };
}

/** An option that takes one of several words, which help and completion show. */
export function choiceOption<const F extends string, const T extends string>(
  flags: F,
  description: string,
  choices: readonly T[],
) {
  const name = flags.split(" ")[0]!;
  return new Option(flags, description).choices(choices).argParser(oneOf(name, choices));
}

/** The name of a volume: it becomes part of paths and lines of scripts, and must not look like a device. */
export function parseVolumeName(word: string): string {
  const fault = volumeNameFault(word);
  if (fault === null) return word;
  throw new UmpathError("usage", `Cannot use ${quote(word)} for --name: it ${fault}`, {
    hint: "Use letters, digits, dots, dashes and underscores, and begin with a letter or a digit",
  });
}
