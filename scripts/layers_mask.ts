/** Blanks out what is not code in TypeScript: enough of the language's grammar for rules that look for words. */

/** A regular expression literal can stand where an operand can: after these, or after one of these words. */
const OPERAND_FOLLOWS = /[(,=:[!&|?{};+\-*%~^<>]$/;
const OPERAND_FOLLOWS_WORD = /(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|do|else|await|yield)$/;

/**
 * Returns `source` with the insides of comments, strings, template texts and regular expressions replaced by spaces.
 * Quotes stay, every offset and line number stays, and so does the code in `${…}`.
 */
export function maskText(source: string): string {
  const masker = new Masker(source);
  masker.code();
  return masker.masked();
}

class Masker {
  readonly #out: string[];
  #at = 0;

  constructor(readonly source: string) {
    this.#out = source.split("");
  }

  masked(): string {
    return this.#out.join("");
  }

  /** Passes code up to the end, or up to the "}" that ends a template's `${`. */
  code(inTemplate = false): void {
    for (let depth = 0; this.#at < this.source.length;) {
      const two = this.source.slice(this.#at, this.#at + 2), one = two[0];
      if (two === "//") this.#blankTo(this.#find("\n"));
      else if (two === "/*") this.#blankTo(this.#find("*/", 2) + 2);
      else if (one === '"' || one === "'") this.#string(one);
      else if (one === "`") this.#template();
      else if (one === "/" && this.#isRegExp()) this.#regExp();
      else {
        if (one === "{") depth++;
        if (one === "}" && depth-- === 0 && inTemplate) return;
        this.#at++;
      }
    }
  }

  #string(quote: string): void {
    this.#at++;
    while (this.#at < this.source.length && this.#here() !== quote && this.#here() !== "\n") this.#blankCharacter();
    this.#at++;
  }

  #template(): void {
    this.#at++;
    while (this.#at < this.source.length && this.#here() !== "`") {
      if (!this.source.startsWith("${", this.#at)) {
        this.#blankCharacter();
        continue;
      }
      this.#at += 2;
      this.code(true);
      this.#at++;
    }
    this.#at++;
  }

  #regExp(): void {
    this.#at++;
    for (let inClass = false; this.#at < this.source.length && this.#here() !== "\n";) {
      if (this.#here() === "/" && !inClass) break;
      if (this.#here() === "[") inClass = true;
      if (this.#here() === "]") inClass = false;
      this.#blankCharacter();
    }
    this.#at++;
  }

  #isRegExp(): boolean {
    const before = this.#out.slice(Math.max(0, this.#at - 200), this.#at).join("").trimEnd();
    return before === "" || OPERAND_FOLLOWS.test(before) || OPERAND_FOLLOWS_WORD.test(before);
  }

  #here(): string | undefined {
    return this.source[this.#at];
  }

  #find(text: string, skip = 0): number {
    const found = this.source.indexOf(text, this.#at + skip);
    return found < 0 ? this.source.length : found;
  }

  /** Blanks one character, or an escape as a whole. */
  #blankCharacter(): void {
    this.#blankTo(this.#at + (this.#here() === "\\" ? 2 : 1));
  }

  #blankTo(end: number): void {
    for (; this.#at < Math.min(end, this.source.length); this.#at++) {
      if (this.#here() !== "\n") this.#out[this.#at] = " ";
    }
  }
}
