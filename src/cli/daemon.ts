import { WORKERS_DEFAULT_MAX, WORKERS_MAX } from "../base/limits.ts";
import type { Declare } from "./commands.ts";
import { commandHelp, withDefault } from "./help.ts";
import { wholeNumber } from "./option_words.ts";
import { completedBy } from "./word_sources.ts";
import { Option } from "@commander-js/extra-typings";

const HELP = commandHelp({
  notes: [
    "There is one daemon for each run folder; umpath attach starts one when none runs, and that one leaves with its " +
    "last volume. This one stays until SIGTERM or SIGINT, and logs to stderr.",
    "SIGUSR1 switches the debug lines of its log on, and off again. SIGHUP opens the log file and the control socket anew.",
  ],
  examples: ["umpath daemon", "UMPATH_LOG=debug umpath daemon --workers 2"],
});

/** `umpath daemon` */
export const declare: Declare = (command, context) => {
  command
    .description("Run the daemon in the foreground, as a service manager does.")
    .addOption(new Option("--transient", "leave when the last volume does").hideHelp())
    .option(
      "--workers <number>",
      withDefault("data-plane threads", `one for each CPU, at most ${WORKERS_DEFAULT_MAX}`),
      wholeNumber("--workers", { min: 1, max: WORKERS_MAX }),
    )
    .addOption(completedBy(new Option("--log-file <file>", "log to this file instead of stderr"), "files"))
    .addHelpText("after", HELP)
    .action(async ({ transient, workers, logFile }) => {
      const { runDaemon } = await import("../host/daemon/daemon.ts");
      const exitCode = await runDaemon({
        transient: transient === true,
        workers: workers ?? null,
        logFile: logFile ?? null,
      });
      context.exitCode = exitCode;
    });
};
