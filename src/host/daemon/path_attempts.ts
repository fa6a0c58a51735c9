/** The first attempts at the paths of a volume that is to be made, and what is said of those that fail. */
import { UmpathError } from "../../base/errors.ts";
import { midSentence } from "../../base/text.ts";
import type { Poller } from "../../io/poller.ts";
import type { PathSpec } from "../../rpc/host_api.ts";
import { ControllerSession, type SessionOptions } from "../driver/controller_session.ts";
import type { Errand } from "./errand.ts";
import { PathFailure, reasonOf } from "../driver/path_failure.ts";
import { isSamePath, pathWords } from "../../rpc/path_words.ts";

/** How long an attach waits for further paths once one is up: those that take longer join later. */
const FURTHER_PATHS_MS = 3_000;

/** Why a path is not live that is about to be. */
export const NOT_UP_YET = "it is not up yet";

/** One path's way in: the session, or why there is none. */
export interface Attempt {
  spec: PathSpec;
  session: ControllerSession | null;
  failure: UmpathError | null;
  /** The volume was opened over it. */
  isUsed: boolean;
}

/**
 * Tries all paths at once. Once one is up, the others get a little longer, and are tried again later.
 *
 * @throws UmpathError if the errand is called off: then nothing is left of any.
 */
export async function openPaths(
  specs: readonly PathSpec[],
  session: Omit<SessionOptions, "spec">,
  { poller, errand }: { poller: Poller; errand: Errand },
): Promise<Attempt[]> {
  const attempts: Attempt[] = specs.map((spec) => ({ spec, session: null, failure: null, isUsed: false }));
  const anyUp = Promise.withResolvers<void>();
  const over = new AbortController();
  const all = attempts.map(async (attempt) => {
    try {
      const opened = await ControllerSession.open(poller, { ...session, spec: attempt.spec }, over.signal);
      if (over.signal.aborted) return opened.abandon();
      attempt.session = opened;
      anyUp.resolve();
    } catch (error) {
      if (!over.signal.aborted) attempt.failure = UmpathError.from(error);
    }
  });
  const ended = Promise.all(all).then(() => {});
  try {
    await errand.unlessOver(Promise.race([ended, anyUp.promise.then(() => pause(FURTHER_PATHS_MS, ended))]));
    return attempts;
  } catch (error) {
    for (const attempt of attempts) attempt.session?.abandon();
    throw error;
  } finally {
    over.abort();
  }
}

/** Each path once. */
export function uniquePaths(specs: readonly PathSpec[]): PathSpec[] {
  return specs.filter((spec, i) => specs.findIndex((other) => isSamePath(other, spec)) === i);
}

/** False for a path that is not tried again: it is refused, it leads elsewhere, or there is no room for it. */
export function isKept(failure: UmpathError): boolean {
  return !(failure instanceof PathFailure && failure.isFinal) && failure.code !== "usage";
}

/** What is said of a path that failed. */
export function failureWords(spec: PathSpec, failure: UmpathError): string {
  const reason = midSentence(reasonOf(failure));
  return isKept(failure) ? keptWords(spec, reason) : leftOutWords(spec, failure);
}

/** What is said of a path that is not live and goes on being tried. */
export function keptWords(spec: PathSpec, reason: string): string {
  return `Path "${pathWords(spec)}" is down (${reason}); umpath keeps retrying it`;
}

/** What is said of a path that is not in the volume. */
export function leftOutWords(spec: PathSpec, failure: UmpathError): string {
  return `Path "${pathWords(spec)}" is left out: ${midSentence(reasonOf(failure))}`;
}

/** The failure that says most: a refusal before a target that could not be reached, and all of them in its words. */
export function worstFailure(failures: readonly UmpathError[]): UmpathError {
  const order = ["refused", "not-found", "host-lacks", "bug", "unreachable", "timed-out"];
  const sorted = failures.toSorted((a, b) => order.indexOf(a.code) - order.indexOf(b.code));
  const [main, ...others] = sorted as [UmpathError, ...UmpathError[]];
  if (others.length === 0) return main;
  const words = new Set([main.message, ...others.map(({ message }) => midSentence(message))]);
  return new UmpathError(main.code, [...words].join("; "), { hint: main.hint, cause: main });
}

async function pause(ms: number, unless: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, unless]);
  clearTimeout(timer);
}
