/** The program: words in, exit code out. */
import { main } from "./src/cli/main.ts";

main(Deno.args).then((exitCode) => Deno.exit(exitCode));
