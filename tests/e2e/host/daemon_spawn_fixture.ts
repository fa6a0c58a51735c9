/**
 * A program that starts itself as daemon, as `umpath attach` does. `ensure` prints the daemon's process; `daemon` serves
 * until SIGTERM, or ends as UMPATH_FIXTURE_END says. daemon_spawn_test.ts runs it.
 */
import { UmpathError } from "../../../src/base/errors.ts";
import { call } from "../../../src/rpc/client.ts";
import { serveControl } from "../../../src/rpc/server.ts";
import { ensureDaemon } from "../../../src/host/daemon/daemon_spawn.ts";
import { ensureRunDir } from "../../../src/rpc/run_dir.ts";
import { refusingHandlers } from "../../unit/host/handlers.ts";

const dir = ensureRunDir();
/** "hang": it never listens; "mute": it listens, says so in its log, and answers nothing. */
const isStuck = ["hang", "mute"].includes(Deno.env.get("UMPATH_FIXTURE_END") ?? "");

async function ensure(): Promise<number> {
  try {
    await ensureDaemon(dir, isStuck ? 3_000 : undefined);
    console.log(JSON.stringify(await call("info", {}, { dir })));
    return 0;
  } catch (error) {
    if (!(error instanceof UmpathError)) throw error;
    console.log(JSON.stringify(error.toWire()));
    return error.exitCode;
  }
}

async function daemon(): Promise<number> {
  const end = Deno.env.get("UMPATH_FIXTURE_END");
  if (end === "host-lacks") {
    console.error(
      "2026-11-22T00:00:00.000Z info daemon: starts\numpath: Cannot open the ring: not here\nhint: Get one",
    );
    return 6;
  }
  if (end === "silent") return 1;
  if (end === "killed") Deno.kill(Deno.pid, "SIGKILL");
  if (isStuck) Deno.writeTextFileSync(`${dir.path}/fixture.pid`, `${Deno.pid}`);
  if (end === "hang") await new Promise((later) => setTimeout(later, 60_000));
  if (end === "mute") {
    console.error("it listens");
    Deno.listen({ transport: "unix", path: dir.socketPath });
    await new Promise((later) => setTimeout(later, 60_000));
  }
  const info = () =>
    Promise.resolve({
      pid: Deno.pid,
      version: "0",
      workers: 0,
      transient: true,
      startedAt: "2026-12-01T00:00:00.000Z",
      logFile: null,
    });
  try {
    const server = serveControl({ socketPath: dir.socketPath, handlers: refusingHandlers({ info }) });
    await new Promise<void>((resolve) => Deno.addSignalListener("SIGTERM", resolve));
    await server.close();
    return 0;
  } catch (error) {
    console.error(`umpath: ${(error as Error).message}`);
    return (error as UmpathError).exitCode;
  }
}

const run = Deno.args[0] === "daemon" ? daemon : ensure;
run().then((code) => Deno.exit(code));
