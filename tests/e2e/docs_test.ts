/** The documents against `dist/umpath`: what they name is there, and what is there is named. */
import { assert, assertEquals } from "@std/assert";
import { COMMANDS_PAGE, commandsPage, helpOfAll } from "../../scripts/docs.ts";
import { UMPATH } from "./cli_fixture.ts";

const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const README_LINES_MAX = 150;
const GLOBAL_OPTIONS = ["--json", "--verbose", "-v", "--help", "-h", "--version"];

const PAGES = ["README.md", ...[...Deno.readDirSync(`${REPO}/docs`)].map(({ name }) => `docs/${name}`)].sort();
const texts = new Map(PAGES.map((page) => [page, Deno.readTextFileSync(`${REPO}/${page}`)]));
const commands = await helpOfAll([UMPATH]);
const helps = new Map(commands.map(({ name, help }) => [name, help]));

/** The commands of a page: lines of code blocks that begin with `umpath`, and code in a line. */
function commandsOf(text: string): string[] {
  const hand = text.split("<!-- made by")[0]!;
  const blocks = [...hand.matchAll(/^```\n([\s\S]*?)^```/gm)].flatMap(([, block]) => block!.split("\n"));
  const inline = [...hand.replace(/^```\n[\s\S]*?^```/gm, "").matchAll(/`([^`]+)`/g)].map(([, code]) => code!);
  return [...blocks.map((line) => line.replace(/^[#$] /, "")), ...inline]
    .map((line) => line.replaceAll("\n", " ").replace(/^dev=\$\(|\)$/g, ""))
    .filter((line) => line.startsWith("umpath "));
}

/** The longest command, such as `target listener add`, that the words begin with; null for none. */
function commandIn(words: readonly string[]): string | null {
  return [3, 2, 1].map((count) => words.slice(0, count).join(" ")).find((name) => helps.has(name)) ?? null;
}

/** What is wrong with a command as it is written, in words; null if nothing is. Words in capitals are placeholders. */
function faultOf(line: string): string | null {
  const words = line.split(/\s+/).slice(1);
  if (words[0] === "COMMAND" || words[0]?.startsWith("--")) return null;
  const first = words[0]!.split("|")[0]!;
  const name = commandIn([first, ...words.slice(1).map((word) => word.replaceAll("\\", "").split("|")[0]!)]);
  if (name === null) return `there is no command ${first}`;
  const options = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/[^\w-].*$/, ""));
  const unknown = options.filter((option) => !GLOBAL_OPTIONS.includes(option) && !hasOption(name, option));
  return unknown.length === 0 ? null : `umpath ${name} has no ${unknown.join(", ")}`;
}

function hasOption(name: string, option: string): boolean {
  return new RegExp(`(?:^|[ ,])${option}(?:[ ,]|$)`, "m").test(helps.get(name)!);
}

Deno.test("The reference of docs/commands.md is what the program's help says", () => {
  const page = texts.get("docs/commands.md")!;
  assertEquals(page, commandsPage(page, commands), "Run: scripts/deno task docs");
  assertEquals(COMMANDS_PAGE, `${REPO}/docs/commands.md`);
});

Deno.test("Every command that the documents show exists, with its options", () => {
  let count = 0;
  for (const [page, text] of texts) {
    for (const line of commandsOf(text)) {
      count++;
      assertEquals(faultOf(line), null, `${page}: ${line}`);
    }
  }
  assert(count > 40, `only ${count} commands were found`);
});

Deno.test("Every option that the documents name is one of some command", () => {
  for (const [page, text] of texts) {
    const foreign = /`scripts\/[^`]*`|^scripts\/.*$/gm;
    for (const [option] of text.split("<!-- made by")[0]!.replace(foreign, "").matchAll(/(?<=[`\s])--[a-z][\w-]*/g)) {
      const isKnown = GLOBAL_OPTIONS.includes(option) || commands.some(({ name }) => hasOption(name, option));
      assert(isKnown, `${page} names ${option}`);
    }
  }
});

Deno.test("The README names every command", () => {
  for (const { name } of commands) {
    const word = name.split(" ")[0]!;
    assert(texts.get("README.md")!.includes(`umpath ${word}`), `the README does not name umpath ${word}`);
  }
});

Deno.test("The tables of timeouts have the defaults of the program", () => {
  const help = helps.get("attach")!.replace(/\s+/g, " ");
  for (const page of ["README.md", "docs/failover.md"]) {
    const rows = [...texts.get(page)!.matchAll(/^\| `(--[\w-]+)` \| (\S+) \|/gm)];
    assert(rows.length > 0, `${page} has no table of timeouts`);
    for (const [, option, value] of rows) {
      const told = new RegExp(`${option} <duration> .*?\\(default: ([^)]*)\\)`).exec(help)?.[1];
      assertEquals(value, told, `${page}: ${option}`);
    }
  }
  const timeouts = [...help.matchAll(/(--[\w-]+) <duration>/g)].map(([, option]) => option!);
  for (const option of timeouts) {
    assert(texts.get("docs/failover.md")!.includes(`| \`${option}\` |`), `${option} is missing`);
  }
});

/** Names of the fields of an exported interface, as its source has them. */
function fieldsOf(file: string, name: string): string[] {
  const source = Deno.readTextFileSync(`${REPO}/${file}`);
  const body = new RegExp(`^export interface ${name} \\{\n([\\s\\S]*?)^\\}`, "m").exec(source)?.[1];
  assert(body !== undefined, `${file} has no ${name}`);
  return [...body!.matchAll(/^ {2}(\w+)\??:/gm)].map(([, field]) => field!);
}

Deno.test("docs/json.md names every field of what the commands print", () => {
  const host = ["PathInfo", "VolumeInfo", "AttachingInfo", "LeftInfo", "DaemonInfo", "AttachResult"];
  const target = ["TargetInfo", "NamespaceInfo", "ListenerInfo", "ControllerInfo", "FaultsInfo"];
  const page = texts.get("docs/json.md")!;
  const shapes = [
    ...host.map((name) => ["src/rpc/host_api.ts", name] as const),
    ["src/settings/timeouts.ts", "Timeouts"] as const,
    ...target.map((name) => ["src/rpc/target_api.ts", name] as const),
  ];
  for (const [file, name] of shapes) {
    const fields = fieldsOf(file, name);
    assert(fields.length > 0, name);
    for (const field of fields) assert(page.includes(`\`${field}\``), `docs/json.md does not name ${field} of ${name}`);
  }
});

Deno.test("The README is short, and every link in the documents leads somewhere", () => {
  const lines = texts.get("README.md")!.trimEnd().split("\n").length;
  assert(lines <= README_LINES_MAX, `the README has ${lines} lines`);
  for (const [page, text] of texts) {
    const folder = page.includes("/") ? `${REPO}/docs` : REPO;
    for (const [, link] of text.matchAll(/\]\((?!http)([^)#]+)(?:#[^)]*)?\)/g)) {
      assert(Deno.statSync(`${folder}/${link}`).isFile, `${page}: ${link}`);
    }
  }
});
