import { native } from "../../../ffi/library.ts";

type Call = (...args: never[]) => unknown;

/**
 * Has calls of a function of the C library go to `other`, which gets the real one too, for as long as it is there. Those
 * that run on another thread cannot be replaced.
 */
export class ReplacedNative implements Disposable {
  readonly #symbols = native() as unknown as Record<string, Call>;
  readonly #name: string;
  readonly #real: Call;

  constructor(name: string, other: (real: Call, ...args: never[]) => unknown) {
    const real = this.#symbols[name]!;
    this.#name = name;
    this.#real = real;
    this.#symbols[name] = (...args) => other(real, ...args);
  }

  [Symbol.dispose](): void {
    this.#symbols[this.#name] = this.#real;
  }
}
