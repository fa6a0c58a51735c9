/** A claim of the demo that is not true. */
export class Untrue extends Error {
  override name = "Untrue";
}

/** What the demo claims: each claim is checked when it is made, and counted. */
export class Claims {
  #checked = 0;

  /** Claims that were true. */
  get checked(): number {
    return this.#checked;
  }

  /** Ends the demo unless `claim` is true; `otherwise` says what is the case instead. */
  demand(claim: boolean, otherwise: string): void {
    if (!claim) throw new Untrue(otherwise);
    this.#checked++;
  }
}
