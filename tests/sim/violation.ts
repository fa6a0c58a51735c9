/** Which checker has noticed something. */
export type Checker =
  | "data"
  | "torn"
  | "once"
  | "errno"
  | "deadline"
  | "progress"
  | "leak"
  | "spread"
  | "buffer"
  | "identity"
  | "assertion";

/** Something that must never happen has happened. */
export class Violation extends Error {
  override name = "Violation";
  constructor(readonly checker: Checker, message: string) {
    super(message);
  }
}
