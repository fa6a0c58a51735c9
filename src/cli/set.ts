import { listWords } from "../base/text.ts";
import type { Declare } from "./commands.ts";
import { ask, notAttached } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { parseSettings, SETTING_KEYS } from "./settings.ts";

const HELP = commandHelp({
  notes: [
    `The keys are ${listWords(SETTING_KEYS)}. All of them are changed, or none. I/O that is in flight goes on as it ` +
    "was sent; what is sent afterwards goes by the new settings.",
    "A path is its number in umpath show, or ADDR, ADDR:PORT and so on as in umpath attach; preferred-path=none is no " +
    "path. Only active-passive heeds the preferred path, weighted the weights, and active-passive goes by the weights " +
    "where the preferred path cannot be used. With failback=manual, I/O stays on the paths that took over for a lost one " +
    "until failback=now. connect-timeout and keep-alive hold from the next connect of each path on.",
  ],
  examples: [
    "umpath set vol1-n1 policy=queue-depth",
    "umpath set vol1-n1 policy=active-passive preferred-path=192.0.2.1",
    "umpath set vol1-n1 policy=weighted weight.0=3 weight.1=1",
    "umpath set vol1-n1 failback=now",
    "umpath set vol1-n1 no-path-timeout=5m io-timeout=10s",
    "umpath set vol1-n1 slow-path=demote hedge-reads=p99",
  ],
});

/** `umpath set` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Change the policy, the times, the preferred path or the weights of a volume while it runs.")
    .argument("<volume>", "its name, device or UUID")
    .argument("<setting...>", "KEY=VALUE")
    .addHelpText("after", HELP)
    .action(async (word, settings) => {
      const changes = parseSettings(settings);
      const onWarning = (message: string) => output.warn(message);
      const result = await ask("set", { volume: word, ...changes }, { onWarning }) ?? notAttached(word);
      if (output.json) output.object({ volume: result.volume });
      else output.note(`Set ${listWords(settings)} of ${result.volume.name}`);
    });
};
