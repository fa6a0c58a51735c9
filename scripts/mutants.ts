/**
 * Mutants: changes of one line that some test has to notice. Each is made in a copy of the sources, and its tests are run
 * there; a mutant that they let pass is a survivor, and a row whose text is not there any more is stale.
 */
const REPO = Deno.realPathSync(`${import.meta.dirname}/..`);

/** What a copy of the sources is made of: all that tests of pure machines import. */
const COPIED = ["deno.json", "deno.lock", "main.ts", "ffi", "src", "scripts", "tests/unit", "tests/sim"];
/** Longer than any of the tests takes; a mutant that never ends is killed by that. */
const TIMEOUT_MS = 300_000;

/** One change. */
export interface Mutant {
  /** The file, from the repository's folder. */
  file: string;
  /** What is changed, as it stands in the file once, and what it becomes. */
  before: string;
  after: string;
  /** The test files that have to notice. */
  tests: string[];
}

/** What became of a mutant: its tests failed, they did not, or the row does not fit the file. */
export type Outcome = "killed" | "survived" | "stale row";

/** The text with the change made; null if it is not there exactly once, or would change nothing. */
export function mutate(text: string, { before, after }: Mutant): string | null {
  const at = text.indexOf(before);
  if (at < 0 || before === after || text.indexOf(before, at + 1) >= 0) return null;
  return text.slice(0, at) + after + text.slice(at + before.length);
}

/** A name for people: the file and the changed text on one line. */
export function mutantName({ file, before, after }: Mutant): string {
  const line = (text: string) => text.trim().replaceAll(/\s+/g, " ") || "nothing";
  return `${file}: "${line(before)}" becomes "${line(after)}"`;
}

/** Runs test files in a folder: whether all pass, and what was printed. */
export type RunTests = (folder: string, tests: readonly string[]) => Promise<{ success: boolean; output: string }>;

/** What a {@linkcode MutantFolder} is made of. */
export interface MutantFolderOptions {
  repo?: string;
  /** What of the repository is copied. */
  copied?: readonly string[];
  runTests?: RunTests;
}

/** A copy of the sources that mutants are made in, one at a time. */
export class MutantFolder implements Disposable {
  readonly path: string;
  readonly #runTests: RunTests;

  constructor({ repo = REPO, copied = COPIED, runTests = denoTest }: MutantFolderOptions = {}) {
    this.#runTests = runTests;
    this.path = Deno.makeTempDirSync({ prefix: "umpath-mutants-" });
    Deno.mkdirSync(`${this.path}/tests`);
    for (const name of copied) run("cp", ["-r", `${repo}/${name}`, `${this.path}/${name}`]);
    // The C library is only read.
    Deno.symlinkSync(`${repo}/dist`, `${this.path}/dist`);
  }

  /** The output of the tests if they fail on the code as it is, else null. */
  async check(tests: readonly string[]): Promise<string | null> {
    const { success, output } = await this.#runTests(this.path, tests);
    return success ? null : output;
  }

  /** Makes the change, runs the tests, and takes it back. */
  async try(mutant: Mutant): Promise<Outcome> {
    const path = `${this.path}/${mutant.file}`;
    const text = Deno.readTextFileSync(path);
    const changed = mutate(text, mutant);
    if (changed === null) return "stale row";
    Deno.writeTextFileSync(path, changed);
    try {
      return (await this.#runTests(this.path, mutant.tests)).success ? "survived" : "killed";
    } finally {
      Deno.writeTextFileSync(path, text);
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

async function denoTest(folder: string, tests: readonly string[]): Promise<{ success: boolean; output: string }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--quiet", "--no-check", "--fail-fast", ...tests],
    cwd: folder,
    stdin: "null",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).output();
  return { success, output: [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n") };
}

function run(program: string, args: string[]): void {
  const { success, stderr } = new Deno.Command(program, { args, stdin: "null" }).outputSync();
  if (!success) throw new Error(`Cannot run ${program}: ${new TextDecoder().decode(stderr)}`);
}
