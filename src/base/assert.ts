/**
 * Assertions state what must hold if our own code is right. They stay on in production.
 * Bytes from the network, kernel results and command-line words are never asserted on: those get errors.
 */

/** Thrown when our own code is wrong. Never thrown for anything that the outside world did. */
export class AssertionFailure extends Error {
  override name = "AssertionFailure";
}

/** Ends the caller with {@linkcode AssertionFailure} unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** Marks code that no input can reach. */
export function unreachable(message: string): never {
  throw new AssertionFailure(message);
}
