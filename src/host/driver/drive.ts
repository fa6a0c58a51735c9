import type { Steps } from "../../nvme_host/steps.ts";
import type { HostConnection } from "./host_connection.ts";

/** Carries out what a sequence of steps wants, over an admin queue. */
export async function drive<T>(admin: HostConnection, steps: Steps<T>, phase = { words: "" }): Promise<T> {
  let next = steps.next(null);
  while (!next.done) {
    const step = next.value;
    phase.words = step.kind === "wait" ? step.why ?? "it is asked again" : `no answer to ${step.command.name}`;
    if (step.kind === "wait") {
      await new Promise((resolve) => setTimeout(resolve, step.ms));
      next = steps.next(null);
    } else {
      next = steps.next(await admin.request(step.command));
    }
  }
  return next.value;
}
