/** The C programs and libraries of the measurements: compiled into `build` when they have changed. */
import { runTool } from "../../scripts/build_tool.ts";

const SOURCES = new URL(".", import.meta.url).pathname;
const FOLDER = new URL("../../build", import.meta.url).pathname;
const FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];

/** Compiles `NAME.c` and further sources if need be, with flags of the compiler; the path of what it makes. */
export async function compile(name: string, flags: string[] = [], further: string[] = []): Promise<string> {
  const sources = [`${SOURCES}/${name}.c`, ...further];
  const made = `${FOLDER}/${name}`;
  const madeAt = await Deno.stat(made).then((stat) => stat.mtime?.getTime() ?? 0, () => 0);
  if (sources.every((source) => madeAt > (Deno.statSync(source).mtime?.getTime() ?? Infinity))) return made;
  Deno.mkdirSync(FOLDER, { recursive: true });
  const words = [...FLAGS, ...flags, "-o", made, ...sources];
  await runTool(Deno.env.get("CC") ?? "cc", words, { debianPackage: "gcc" });
  return made;
}
