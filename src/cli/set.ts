import { Argument } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { listWords } from "../base/text.ts";
import type { Declare } from "./commands.ts";
import { ask, DAEMON_WAIT, unlessLeft } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { isSetting, parseSettings, SETTING_KEYS } from "./settings.ts";
import { explainFaults } from "./usage_errors.ts";
import { volumeWord } from "./volume_words.ts";
import { completedBy } from "./word_sources.ts";

const HELP = commandHelp({
  notes: [
    `The keys are ${listWords(SETTING_KEYS)}. Either all of the settings are changed or none. Requests in flight are ` +
    "not affected.",
    "A path is its number in umpath show, or an address as in umpath attach. preferred-path=none means no preference. " +
    "Only active-passive uses the preferred path; only weighted uses the weights, and active-passive where it cannot " +
    "use the preferred path. With failback=manual, I/O stays on the paths that took over for a lost one until " +
    "failback=now. connect-timeout and keep-alive take effect when a path next connects.",
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
  explainFaults(command, ({ kind, args }) => kind === "missing" ? volumeIsMissing(args) : null);
  command
    .description("Change settings of a volume while it is attached.")
    .addArgument(
      completedBy(new Argument("<volume>", "name, device, mount point, UUID or NQN of the volume"), "volumes"),
    )
    .addArgument(completedBy(new Argument("<setting...>", "KEY=VALUE; repeatable"), "settings"))
    .addHelpText("after", HELP)
    .action(async (word, settings) => {
      const misplaced = volumeIsMissing([word, ...settings]);
      if (misplaced !== null) throw misplaced;
      const wanted = parseSettings(settings);
      const onWarning = (message: string) => output.warn(message);
      const named = volumeWord(word);
      const asked = ask("set", { volume: named, ...wanted }, { onWarning });
      const { volume, changes } = await unlessLeft(named, output.waiting(DAEMON_WAIT, asked));
      if (output.json) return output.object({ volume, changes });
      const changed = changes.length > 0 || wanted.failback === "now";
      output.done(volume.name, listWords(settings.map(resultWords)), { changed });
    });
};

/** A setting where the volume must stand: what was meant. */
function volumeIsMissing(words: readonly string[]): UmpathError | null {
  if (words[0] === undefined || !isSetting(words[0])) return null;
  const volume = words.find((word) => !word.includes("="));
  const settings = words.filter((word) => word !== volume);
  return new UmpathError("usage", "Cannot run umpath set: the volume is missing before the settings", {
    hint: `Write umpath set ${volume ?? "VOLUME"} ${settings.join(" ")}`,
  });
}

/** `policy set to queue-depth` */
function resultWords(setting: string): string {
  const equals = setting.startsWith("weight.") ? setting.lastIndexOf("=") : setting.indexOf("=");
  const [key, value] = [setting.slice(0, equals), setting.slice(equals + 1)];
  return key === "failback" && value === "now" ? "I/O returned to the best paths" : `${key} set to ${value}`;
}
