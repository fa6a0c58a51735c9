/** The bytes of all parts, one after the other. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Makes `count` words zero from `at` on: for the few of a header, for which the call of `fill()` takes longer. */
export function clearWords(words: Uint32Array, at: number, count: number): void {
  for (let i = 0; i < count; i++) words[at + i] = 0;
}
