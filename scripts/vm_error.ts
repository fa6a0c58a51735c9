/** How a run of the test machine ends other than by its command. */

/** Exit code when the time limit ended the run, as timeout(1) has it. */
export const EXIT_TIMEOUT = 124;
/** Exit code when the machine itself failed. */
export const EXIT_MACHINE = 125;

/** Ends the run with a message and an exit code. */
export class VmError extends Error {
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}
