/** Stand-in for node:process in the packed binary: what Commander reads, from Deno. */

function output(stream: typeof Deno.stdout | typeof Deno.stderr) {
  return {
    get isTTY(): boolean {
      return stream.isTerminal();
    },
    get columns(): number {
      return Deno.consoleSize().columns;
    },
    hasColors(): boolean {
      return stream.isTerminal() && !Deno.noColor;
    },
    write(text: string): boolean {
      const bytes = new TextEncoder().encode(text);
      try {
        for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
      } catch (error) {
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // the reader has seen enough
      }
      return true;
    },
  };
}

const env = new Proxy({} as Record<string, string>, {
  has: (_, name) => typeof name === "string" && Deno.env.has(name),
  get: (_, name) => typeof name === "string" ? Deno.env.get(name) : undefined,
});

export default {
  argv: [Deno.execPath(), Deno.execPath(), ...Deno.args],
  execArgv: [] as string[],
  execPath: Deno.execPath(),
  exitCode: undefined as number | undefined,
  platform: "linux",
  versions: {},
  env,
  stdout: output(Deno.stdout),
  stderr: output(Deno.stderr),
  exit: (code?: number): never => Deno.exit(code),
};
