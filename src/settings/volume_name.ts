/** What a volume may be called: its name becomes part of file paths and of lines of scripts. */

const NAME_LENGTH_MAX = 64;

/** What is wrong with the name of a volume, as the end of "it …", or null. */
export function volumeNameFault(name: string): string | null {
  if (name === "") return "is empty";
  if (name.length > NAME_LENGTH_MAX) return `is longer than ${NAME_LENGTH_MAX} characters`;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) return "has characters that are not safe in a name";
  if (/^(ublk[bc]|loop)\d+$/.test(name)) return "is the name of a device";
  return null;
}
