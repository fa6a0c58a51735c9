import { Argument } from "@commander-js/extra-typings";
import type { Declare } from "./commands.ts";
import { COMPLETION_SCRIPTS, SHELLS } from "./completion_scripts.ts";
import { commandHelp } from "./help.ts";
import { oneOf } from "./option_words.ts";

const HELP = commandHelp({
  examples: [
    "umpath completion bash > /etc/bash_completion.d/umpath",
    "umpath completion zsh > /usr/local/share/zsh/site-functions/_umpath",
    "umpath completion fish > /etc/fish/completions/umpath.fish",
    "source <(umpath completion bash)",
  ],
});

/** `umpath completion` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Print the script that lets a shell complete commands, options and volumes of umpath.")
    .addArgument(
      new Argument("<shell>", "the shell").choices(SHELLS).argParser(oneOf("the shell", SHELLS, { guess: false })),
    )
    .addHelpText("after", HELP)
    .action((shell) => {
      const script = COMPLETION_SCRIPTS[shell];
      if (output.json) output.object({ shell, script });
      else output.text(script);
    });
};
