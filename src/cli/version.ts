import { VERSION } from "../base/version.ts";
import type { Declare } from "./commands.ts";
import { commandHelp } from "./help.ts";

/** `umpath version` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Print the version of umpath.")
    .addHelpText("after", commandHelp({ examples: ["umpath version", "umpath version --json"] }))
    .action(() => {
      if (output.json) {
        output.object({ version: VERSION, runtime: `deno ${Deno.version.deno}`, target: Deno.build.target });
      } else output.line(`umpath ${VERSION}`);
    });
};
