/** What `attach --discover` finds: the paths of one subsystem, or with `--all` every namespace on offer. */
import { type ErrorCode, UmpathError } from "../base/errors.ts";
import { PATHS_MAX } from "../base/limits.ts";
import { count, midSentence, quote } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import type { AttachResult, PathSpec } from "../rpc/host_api.ts";
import type { Asker, DiscoveryEntry } from "../host/daemon/discovery.ts";
import { isSamePath, pathWords } from "../rpc/path_words.ts";
import { detachNew, OutputLost, printAttached } from "./attach_result.ts";
import type { Context } from "./commands.ts";
import { type DiscoveredPaths, type HostEnd, pathsTo, subsystemsOf } from "./discovered_paths.ts";
import { discoverFrom, namespacesOf, warnOfReferrals } from "./discovery_calls.ts";
import { untilInterrupted } from "./interruption.ts";
import { mapLimited } from "./map_limited.ts";
import type { Output } from "./output.ts";

/** Attaches of one command at a time. */
const ATTACH_PARALLEL = 8;

/** Where to ask, who asks, and which ways out of this host each portal is to be reached on. */
export interface DiscoveryQuestion {
  portal: PathSpec;
  asker: Asker;
  hostEnds: readonly HostEnd[];
  /** Named by the user besides. */
  paths: readonly PathSpec[];
}

/** A namespace that is on offer, and every path to it. */
export interface OfferedNamespace {
  nqn: string;
  nsid: number;
  paths: PathSpec[];
}

/** What could not be attached. */
export interface AttachFailure {
  nqn: string;
  /** Null if it is not known which namespaces there are. */
  nsid: number | null;
  error: UmpathError;
}

/** The ways out of this host that were named; none: the portal's own. */
export function hostEndsOf(
  portal: PathSpec,
  { hostTraddr = [], hostIface = [] }: { hostTraddr?: string[]; hostIface?: string[] },
): HostEnd[] {
  const ends = [
    ...hostTraddr.map((hostTraddr) => ({ hostTraddr, hostIface: null })),
    ...hostIface.map((hostIface) => ({ hostTraddr: null, hostIface })),
  ];
  return ends.length > 0 ? ends : [{ hostTraddr: portal.hostTraddr, hostIface: portal.hostIface }];
}

/** What attaches one namespace. */
interface AttachTools {
  context: Context;
  attach(offered: OfferedNamespace, cancel: AbortSignal): Promise<AttachResult>;
}

/**
 * Attaches every namespace on offer, several at a time, and prints each device once it takes I/O, in the order of the
 * discovery log. What fails is named at the end; the rest goes on. What was not printed when the command is interrupted
 * is undone.
 *
 * @throws UmpathError if nothing is on offer, "interrupted".
 */
export async function attachAll(nqn: string | null, question: DiscoveryQuestion, tools: AttachTools): Promise<void> {
  const { context } = tools;
  const { output } = context;
  const { offered, failures } = await discoverNamespaces(nqn, question, output);
  const attached = await untilInterrupted({
    what: `attach of ${count(offered.length, "namespace")}`,
    undo: () => Promise.resolve(),
  }, async (cancel) => await attachOffered(offered, { ...tools, cancel, failures }));
  if (output.json) output.object({ attached, failures: failures.map(wireFailure) });
  else failureLines(failures).forEach((line) => output.errorLine(line));
  context.exitCode = exitCodeOf(failures);
}

/** Attaches what is on offer and prints it in its order; gives what is attached, and adds to the failures. */
async function attachOffered(
  offered: readonly OfferedNamespace[],
  { context: { output }, attach, cancel, failures }: AttachTools & { cancel: AbortSignal; failures: AttachFailure[] },
): Promise<AttachResult[]> {
  const ending = new AbortController();
  cancel.addEventListener("abort", () => ending.abort());
  let done = 0;
  const attaching = mapLimited(offered, ATTACH_PARALLEL, async (namespace) => {
    const result = await attach(namespace, ending.signal);
    output.progress(`${++done} of ${offered.length} attached`);
    return result;
  });
  const attached: AttachResult[] = [];
  for (const [i, { nqn, nsid }] of offered.entries()) {
    try {
      const result = await attaching[i]!;
      attached.push(result);
      if (!output.json) await printAttached(result, () => output.line(result.device));
    } catch (error) {
      if (cancel.aborted || error instanceof OutputLost) {
        ending.abort();
        await detachUnprinted(attaching.slice(i + 1));
        throw error;
      }
      failures.push({ nqn, nsid, error: UmpathError.from(error) });
    }
  }
  output.progress(null);
  return attached;
}

/** Nobody has heard of their devices: no script would ever detach them. */
async function detachUnprinted(attaching: Promise<AttachResult>[]): Promise<void> {
  const outcomes = await Promise.allSettled(attaching);
  const created = outcomes.flatMap((outcome) => outcome.status === "fulfilled" ? [outcome.value] : [])
    .filter((result) => result.created);
  await Promise.all(created.map(detachNew));
}

/** Failures as the error of a command is told; what can be done about several of them is said once, after the last. */
export function failureLines(failures: readonly AttachFailure[]): string[] {
  const hints = failures.map(({ error }) => error.hint);
  return failures.flatMap((failure, i) => {
    const hint = hints[i];
    const isLast = hint !== undefined && hints.lastIndexOf(hint) === i;
    return [`umpath: ${failureWords(failure)}`, ...isLast ? [`hint: ${hint}`] : []];
  });
}

function wireFailure({ nqn, nsid, error }: AttachFailure) {
  return { nqn, nsid, error: error.toWire() };
}

/**
 * The paths to the subsystem: those that the user named and those of the log.
 *
 * @throws UmpathError "not-found" if the log has none.
 */
export async function discoverPaths(nqn: string, question: DiscoveryQuestion, output: Output): Promise<PathSpec[]> {
  const entries = await entriesAt(question, output);
  const found = pathsIn(entries, { nqn, question, output });
  if (found.paths.length > question.paths.length) return found.paths;
  const offered = subsystemsOf(entries);
  const what = `Cannot find ${quote(nqn)} at ${quote(pathWords(question.portal))}`;
  if (offered.includes(nqn)) throw unusable(what, found);
  const why = offered.length === 0 ? "it offers nothing to this host" : `it offers ${offered.map(quote).join(", ")}`;
  throw new UmpathError("not-found", `${what}: ${why}`, {
    hint: `Check the NQN, and that the target allows this host, which is ${question.asker.hostNqn}`,
  });
}

/** The log names the subsystem, and none of the entries can be a path. The warnings before have said why of each. */
function unusable(what: string, { leftOut, needsTls }: DiscoveredPaths): UmpathError {
  if (leftOut.length === 0) {
    return new UmpathError("not-found", `${what}: no entry can be reached from the local addresses given`, {
      hint: "Check --host-traddr and --host-iface",
    });
  }
  const hint = needsTls ? 'Let the target accept connections without TLS (TREQ "not required")' : undefined;
  return new UmpathError("not-found", `${what}: no entry of the discovery log can be used`, { hint });
}

/**
 * Every active namespace of every subsystem, or of `nqn`; a subsystem that cannot be asked is among the failures.
 *
 * @throws UmpathError "not-found" if there is none.
 */
async function discoverNamespaces(
  nqn: string | null,
  question: DiscoveryQuestion,
  output: Output,
): Promise<{ offered: OfferedNamespace[]; failures: AttachFailure[] }> {
  const entries = await entriesAt(question, output);
  const known = subsystemsOf(entries, (message) => output.warn(message));
  const nqns = nqn === null ? known : known.filter((offered) => offered === nqn);
  const offered: OfferedNamespace[] = [];
  const failures: AttachFailure[] = [];
  for (const nqn of nqns) {
    const found = pathsIn(entries, { nqn, question, output });
    const { paths } = found;
    if (paths.length === 0) {
      failures.push({
        nqn,
        nsid: null,
        error: unusable(`Cannot find a path at ${quote(pathWords(question.portal))}`, found),
      });
      continue;
    }
    try {
      const nsids = await namespacesOf(nqn, paths, question.asker);
      offered.push(...nsids.map((nsid) => ({ nqn, nsid, paths })));
    } catch (error) {
      failures.push({ nqn, nsid: null, error: UmpathError.from(error) });
    }
  }
  if (offered.length === 0 && failures.length === 0) {
    const what = nqn === null ? "it offers no namespace" : `it offers no namespace of ${quote(nqn)}`;
    throw new UmpathError("not-found", `Cannot attach what ${quote(pathWords(question.portal))} offers: ${what}`, {
      hint: `Check that the target allows this host, which is ${question.asker.hostNqn}`,
    });
  }
  return { offered, failures };
}

async function entriesAt({ portal, asker }: DiscoveryQuestion, output: Output): Promise<DiscoveryEntry[]> {
  const { services, failures } = await output.waiting(
    `${pathWords(portal)} (connect-timeout ${formatDuration(asker.connectTimeoutMs)})`,
    discoverFrom(portal, asker),
  );
  warnOfReferrals(failures, output);
  return services.flatMap((service) => service.entries);
}

function pathsIn(
  entries: readonly DiscoveryEntry[],
  { nqn, question, output }: { nqn: string; question: DiscoveryQuestion; output: Output },
): DiscoveredPaths {
  const found = pathsTo(nqn, entries, question.hostEnds);
  found.leftOut.forEach((words) => output.warn(words));
  const more = found.paths.filter((path) => !question.paths.some((named) => isSamePath(named, path)));
  const all = [...question.paths, ...more];
  if (all.length > PATHS_MAX) {
    output.warn(`${nqn} has ${all.length} paths: those after the first ${PATHS_MAX} are left out`);
  }
  return { ...found, paths: all.slice(0, PATHS_MAX) };
}

/** What says most of why not everything was attached, first. */
const BY_WEIGHT: readonly ErrorCode[] = [
  "bug",
  "host-lacks",
  "refused",
  "in-use",
  "not-found",
  "unreachable",
  "timed-out",
  "usage",
];

/** The exit code of a command of which these parts failed: that of the worst. */
function exitCodeOf(failures: readonly AttachFailure[]): number {
  const errors = failures.map(({ error }) => error);
  errors.sort((a, b) => BY_WEIGHT.indexOf(a.code) - BY_WEIGHT.indexOf(b.code));
  return errors[0]?.exitCode ?? 0;
}

/** A failure in words that name what failed. */
function failureWords({ nqn, nsid, error }: AttachFailure): string {
  const why = error.message.replace(/^Cannot attach: /, "");
  return `Cannot attach ${nsid === null ? "" : `namespace ${nsid} of `}${quote(nqn)}: ${midSentence(why)}`;
}
