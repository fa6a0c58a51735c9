import { VERSION } from "../base/version.ts";
import type { Declare } from "./commands.ts";
import { commandHelp } from "./help.ts";

const DAEMON_MS_MAX = 1_000;

/** A daemon that does not answer, or may not be asked, keeps nobody from knowing the version of the program. */
async function runningDaemon(): Promise<{ version: string; pid: number } | null> {
  const { ask } = await import("../rpc/client.ts");
  const info = await ask("info", {}, { timeoutMs: DAEMON_MS_MAX }).catch(() => null);
  return info === null ? null : { version: info.version, pid: info.pid };
}

/** `umpath version` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Print the version of umpath, and that of the daemon where one runs.")
    .addHelpText("after", commandHelp({ examples: ["umpath version", "umpath version --json"] }))
    .action(async () => {
      const daemon = await runningDaemon();
      if (output.json) {
        const program = { version: VERSION, runtime: `deno ${Deno.version.deno}`, target: Deno.build.target };
        return output.object({ ...program, daemon });
      }
      output.line(`umpath ${VERSION}`);
      if (daemon !== null) output.line(`daemon ${daemon.version}, process ${daemon.pid}`);
    });
};
