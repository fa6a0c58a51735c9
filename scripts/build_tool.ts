/** Running the few outside tools that the build needs, with errors that say what to do. */

import { baseName } from "./build_program.ts";

/** What a tool run may be told beside its arguments. */
export interface ToolOptions {
  /** Working directory. */
  cwd?: string;
  /** Variables added to the environment. */
  env?: Record<string, string>;
  /** Ends the tool when it fires. */
  signal?: AbortSignal;
  /** Given what the tool said when it failed, what to do. */
  hint?: (said: string) => string | undefined;
  /** The Debian package that brings the tool. */
  debianPackage?: string;
}

/** A tool that could not be started or ended with an error. */
export class ToolError extends Error {
  override name = "ToolError";
}

/** Runs `path` with `args` and returns its standard output; throws `ToolError` with its messages if it fails. */
export async function runTool(path: string, args: string[], options: ToolOptions = {}): Promise<string> {
  const output = await start(path, args, options).catch((cause) => {
    const install = options.debianPackage ? `\n  Install the Debian package ${options.debianPackage}.` : "";
    throw new ToolError(`Cannot run "${path}": ${cause.message}${install}`, { cause });
  });
  const decoder = new TextDecoder();
  if (!output.success) {
    const said = (decoder.decode(output.stderr) + decoder.decode(output.stdout)).trim();
    const hint = options.hint?.(said);
    const how = output.signal === null ? `exit code ${output.code}` : `signal ${output.signal}`;
    throw new ToolError(`${baseName(path)} failed with ${how}:\n${said}${hint ? `\n  ${hint}` : ""}`);
  }
  return decoder.decode(output.stdout);
}

async function start(path: string, args: string[], options: ToolOptions): Promise<Deno.CommandOutput> {
  return await new Deno.Command(path, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { NO_COLOR: "1", ...options.env },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  }).output();
}

/** The folder that downloads and intermediate results are kept in, shared by all clones. */
export function devCache(): string {
  const own = Deno.env.get("UMPATH_DEV_CACHE");
  if (own) return own;
  const base = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME") || "."}/.cache`;
  return `${base}/umpath-dev`;
}

/** Whether something is at `path`. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}

/** Puts `write`'s result at `path` in one step, so that nobody sees half a file. */
export async function replaceFile(path: string, write: (part: string) => void | Promise<void>): Promise<void> {
  const part = `${path}.part${Deno.pid}`;
  try {
    await write(part);
    Deno.renameSync(part, path);
  } catch (error) {
    if (exists(part)) Deno.removeSync(part, { recursive: true });
    throw error;
  }
}
