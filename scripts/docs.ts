/**
 * Writes the reference of `docs/commands.md` from the help of the program: `deno task docs`. The text above the marker is
 * written by hand. A test compares the file with `dist/umpath`, so that it is never out of date.
 */

const REPO = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** The file with the reference. */
export const COMMANDS_PAGE = `${REPO}/docs/commands.md`;

/** Below it everything is made from the help. */
const MARKER = "<!-- made by `deno task docs` from the help of the program -->\n";

/** A command with the verbs before it, and its help. */
export interface CommandHelp {
  /** `path add` */
  name: string;
  help: string;
}

/** The help of every command and verb of the program that these words start, in the order of the help. */
export async function helpOfAll(program: readonly string[]): Promise<CommandHelp[]> {
  return await helpBelow(program, []);
}

async function helpBelow(program: readonly string[], words: readonly string[]): Promise<CommandHelp[]> {
  const help = await helpOf(program, words);
  const found: CommandHelp[] = words.length === 0 ? [] : [{ name: words.join(" "), help }];
  for (const name of commandsIn(help)) found.push(...await helpBelow(program, [...words, name]));
  return found;
}

async function helpOf(program: readonly string[], words: readonly string[]): Promise<string> {
  const [file, ...args] = [...program, ...words, "--help"];
  const { code, stdout } = await new Deno.Command(file!, { args, stdin: "null", stderr: "inherit" }).output();
  if (code !== 0) throw new Error(`"${[...program, ...words].join(" ")} --help" ended with exit code ${code}`);
  return new TextDecoder().decode(stdout);
}

/** The names in the section "Commands" of a help text; `help` is none. */
export function commandsIn(help: string): string[] {
  const section = /^Commands:\n((?: {2}.*\n)*)/m.exec(help)?.[1] ?? "";
  return [...section.matchAll(/^ {2}([a-z][\w-]*)/gm)].map(([, name]) => name!).filter((name) => name !== "help");
}

/** The page with the part above the marker as it is, and the reference made anew. */
export function commandsPage(page: string, commands: readonly CommandHelp[]): string {
  const end = page.indexOf(MARKER);
  if (end < 0) throw new Error(`docs/commands.md has no line ${MARKER.trim()}`);
  const sections = commands.map(({ name, help }) => `\n## umpath ${name}\n\n\`\`\`\n${referenceOf(help)}\n\`\`\`\n`);
  return page.slice(0, end) + MARKER + sections.join("");
}

/** The help without what it has in common with every other: the page tells that once. */
function referenceOf(help: string): string {
  return help.replace(/\nExit codes:\n(?: {2}.*\n)*/, "").replace(/\nGlobal Options:\n(?: {2}.*\n)*/, "").trim();
}

if (import.meta.main) {
  const commands = await helpOfAll([Deno.execPath(), "run", "-A", `${REPO}/main.ts`]);
  Deno.writeTextFileSync(COMMANDS_PAGE, commandsPage(Deno.readTextFileSync(COMMANDS_PAGE), commands));
}
