/** The parts of the help that the argument parser cannot make up. */

const EXIT_CODE_LINES = `
Exit codes:
  0  done                         5  refused by the storage system
  1  a bug in umpath              6  this host lacks something
  2  wrong usage                  7  in use
  3  no such volume or device     8  timed out
  4  unreachable`;

/** Below the help of the program. */
export const PROGRAM_HELP = `
Examples:
  $ umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1 -p 198.51.100.1
  /dev/ublkb0
  $ umpath show vol1-n1
  $ umpath detach vol1-n1

Environment:
  UMPATH_RUN_DIR  folder of the socket, lock and log of the daemon (/run/umpath)
  UMPATH_LOG      error, warn, info or debug: how much is logged (info)
${EXIT_CODE_LINES}
`;

/** Below the help of a command: lines of examples, and notes about them. */
export function commandHelp(options: { examples: readonly string[]; notes?: readonly string[] }): string {
  const notes = options.notes === undefined ? "" : `\n${options.notes.join("\n")}\n`;
  return `${notes}\nExamples:\n${options.examples.map((line) => `  $ ${line}`).join("\n")}\n${EXIT_CODE_LINES}\n`;
}
