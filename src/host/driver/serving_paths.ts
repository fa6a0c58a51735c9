/** Which paths can serve I/O before a volume has a kernel device, which is read as soon as it is there. */
import { anaServesIo } from "../../nvme_host/ana.ts";
import type { AnaStateName, PathSpec } from "../../rpc/host_api.ts";
import type { ControllerSession } from "./controller_session.ts";
import { PathFailure } from "./path_failure.ts";
import { pathWords } from "../../rpc/path_words.ts";

/** How long a namespace may be in the ANA state "change" before it counts as one that does not serve. */
const CHANGE_MS_MAX = 5_000;
const LOOK_MS = 50;
/** How long all paths may fail to serve while a kernel device is made. */
export const OPENING_STALL_MS = 5_000;

const ANA_WORDS: Readonly<Record<AnaStateName, string>> = Object.freeze({
  optimized: "optimized",
  "non-optimized": "non-optimized",
  inaccessible: "inaccessible",
  "persistent-loss": "in persistent loss",
  change: "changing its state",
});

type Opened = { readonly session: ControllerSession | null };

export function servesIo({ session }: Opened): boolean {
  return session !== null && anaServesIo(session.ana);
}

/** Waits until a path serves, or no path is about to. */
export async function settleAna(paths: readonly Opened[], isOver: () => boolean): Promise<void> {
  const endMs = performance.now() + CHANGE_MS_MAX;
  const isChanging = () => !paths.some(servesIo) && paths.some(({ session }) => session?.ana === "change");
  while (isChanging() && !isOver() && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** The paths that serve I/O, and then the others, each in their order. */
export function servingFirst<T extends Opened>(paths: readonly T[]): T[] {
  return [...paths.filter(servesIo), ...paths.filter((path) => !servesIo(path))];
}

/** Why no kernel device is made over a path that is connected. */
export function notServing(spec: PathSpec, ana: AnaStateName): PathFailure {
  const reason = `the namespace is ${ANA_WORDS[ana]} there (ANA)`;
  return new PathFailure("unreachable", { action: `Cannot do I/O over "${pathWords(spec)}"`, reason }, {
    hint: "Make a path optimized or non-optimized at the storage system, then attach again",
  });
}

/** Watches the paths of a volume while its device is made: `onStalled` is called when none has served for too long. */
export class OpeningWatch implements Disposable {
  readonly #onStalled: () => void;
  readonly #stallMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(onStalled: () => void, stallMs = OPENING_STALL_MS) {
    this.#onStalled = onStalled;
    this.#stallMs = stallMs;
  }

  handlePaths(isServed: boolean): void {
    if (isServed || this.#isOver) this.#stop();
    else this.#timer ??= setTimeout(this.#onStalled, this.#stallMs);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#stop();
  }
}
