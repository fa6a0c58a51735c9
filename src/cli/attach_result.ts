/** What `attach` prints, and what becomes of a volume whose device could not be printed. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { midSentence } from "../base/text.ts";
import type { AttachResult } from "../rpc/host_api.ts";
import { ask } from "./daemon_calls.ts";
import { OutputClosed } from "./output.ts";

/** Nothing more can be printed, and what was to be is undone or named. */
export class OutputLost extends UmpathError {
  override name = "OutputLost";
}

/**
 * Prints a volume that was attached. A new one whose device cannot be printed is detached again: no script would ever hear
 * of it.
 *
 * @throws OutputLost
 */
export async function printAttached(result: AttachResult, print: () => void): Promise<void> {
  try {
    print();
  } catch (error) {
    const why = error instanceof OutputClosed ? "the reader of the output has left" : midSentence(messageOf(error));
    const { name } = result.volume;
    const what = result.device === name ? "attached" : `attached as ${result.device}`;
    if (!result.created) throw new OutputLost("host-lacks", `${name} is ${what}, but ${why}`);
    try {
      await detachNew(result);
    } catch (failure) {
      const words = `${name} is ${what}, but ${why}, and it could not be detached again`;
      throw new OutputLost("host-lacks", `${words}: ${messageOf(failure)}`, { hint: `umpath detach ${name}` });
    }
    throw new OutputLost("host-lacks", `${name} was ${what} and is detached again: ${why}`);
  }
}

/** Takes a volume away again that was just attached. */
export async function detachNew({ volume }: AttachResult): Promise<void> {
  await ask("detach", { volumes: [volume.name], all: false, force: false }, { timeoutMs: DETACH_MS_MAX });
}

/** Flushing and stopping a device takes its time. */
const DETACH_MS_MAX = 120_000;
