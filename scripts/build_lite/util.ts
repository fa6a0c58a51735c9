/** Stand-in for node:util in the packed binary. */

// deno-lint-ignore no-control-regex
const CONTROL_SEQUENCE = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;

/** `text` without terminal control sequences. */
export function stripVTControlCharacters(text: string): string {
  return text.replace(CONTROL_SEQUENCE, "");
}
