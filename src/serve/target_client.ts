/** How commands ask the targets of this host. */
import { UmpathError } from "../base/errors.ts";
import { listWords, quote } from "../base/text.ts";
import { type CallOptions, callPeer } from "../rpc/client.ts";
import { runDir } from "../rpc/run_dir.ts";
import type { TargetApi, TargetInfo, TargetMethod } from "../rpc/target_api.ts";
import { targetPids, targetSocketPath } from "./target_sockets.ts";

/** Which target is meant; what is not given does not matter. */
export interface TargetChoice {
  nqn?: string | undefined;
  pid?: number | undefined;
}

/** All targets that answer. `onSilent` hears why another one does not, which has its socket and says nothing. */
export async function runningTargets(
  onSilent: (error: UmpathError, pid: number) => void = () => {},
): Promise<TargetInfo[]> {
  const pids = targetPids(runDir());
  const answers = await Promise.allSettled(pids.map((pid) => ask(pid, "show", {})));
  return answers.flatMap((answer, i) => {
    if (answer.status === "fulfilled") return answer.value === null ? [] : [answer.value];
    onSilent(UmpathError.from(answer.reason), pids[i]!);
    return [];
  });
}

/**
 * The one target that is meant.
 *
 * @throws UmpathError "not-found" if there is none, "usage" if there is more than one.
 */
export async function findTarget({ nqn, pid }: TargetChoice): Promise<TargetInfo> {
  const silent = new Map<number, UmpathError>();
  const running = await runningTargets((error, pid) => silent.set(pid, error));
  const found = running.filter((target) => (nqn ?? target.nqn) === target.nqn && (pid ?? target.pid) === target.pid);
  const wanted = [...nqn === undefined ? [] : [quote(nqn)], ...pid === undefined ? [] : [`process ${pid}`]];
  // The one that is meant may be among those that do not answer.
  const [failure] = pid === undefined ? silent.values() : [silent.get(pid)];
  if (found.length === 0 && failure !== undefined) throw failure;
  if (found.length === 0) {
    const which = wanted.length === 0 ? "" : ` of ${listWords(wanted)}`;
    throw new UmpathError("not-found", `No target${which} is running on this host`, {
      hint: running.length === 0 ? "umpath serve makes one" : "umpath target list shows the running targets",
    });
  }
  if (found.length === 1) return found[0]!;
  const words = found.map((target) => `${target.nqn} (process ${target.pid})`);
  throw new UmpathError("usage", `Several targets are running on this host: ${listWords(words)}`, {
    hint: "Choose one with --nqn NQN or --pid NUMBER",
  });
}

/** What the target answers. */
export async function askTarget<M extends TargetMethod>(
  target: TargetInfo,
  method: M,
  params: TargetApi[M]["params"],
): Promise<TargetApi[M]["result"]> {
  const result = await ask(target.pid, method, params);
  if (result !== null) return result;
  throw new UmpathError("not-found", `The target of process ${target.pid} has ended`);
}

async function ask<M extends TargetMethod>(
  pid: number,
  method: M,
  params: TargetApi[M]["params"],
  options: CallOptions = {},
): Promise<TargetApi[M]["result"] | null> {
  const socketPath = targetSocketPath(runDir(), pid);
  const peer = { socketPath, name: `the target of process ${pid}`, logWords: "its stderr" };
  return await callPeer(peer, { method, params }, options) as TargetApi[M]["result"] | null;
}
