import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { Prng } from "../../../src/base/prng.ts";
import { logger, setLogLevel, setLogSink } from "../../../src/base/log.ts";
import type { VolumeInfo } from "../../../src/rpc/host_api.ts";
import { call, DaemonGoneError } from "../../../src/rpc/client.ts";
import { type Handlers, serveControl } from "../../../src/rpc/server.ts";
import { refusingHandlers } from "../../unit/host/handlers.ts";
import { ensureRunDir, type RunDir, runDirAt, RunDirLock } from "../../../src/rpc/run_dir.ts";

const INFO = {
  pid: 1,
  version: "0",
  workers: 1,
  transient: true,
  startedAt: "2026-12-01T00:00:00.000Z",
  logFile: null,
};

function handlers(changes: Partial<Handlers> = {}): Handlers {
  return refusingHandlers({
    list: () => Promise.resolve({ volumes: [] }),
    info: () => Promise.resolve(INFO),
    ...changes,
  });
}

async function withRunDir(body: (dir: RunDir) => Promise<void>): Promise<void> {
  const path = Deno.makeTempDirSync({ prefix: "umpath-control-" });
  setLogSink(() => {});
  try {
    await body(ensureRunDir(runDirAt(path)));
  } finally {
    setLogSink(null);
    Deno.removeSync(path, { recursive: true });
  }
}

/** Sends raw bytes and gives every answer until the server closes or `answersMax` came. */
async function raw(dir: RunDir, bytes: Uint8Array | string, answersMax: number): Promise<Record<string, unknown>[]> {
  const socket = await Deno.connect({ transport: "unix", path: dir.socketPath });
  const sending = (async () => {
    const whole = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    for (let done = 0; done < whole.length;) done += await socket.write(whole.subarray(done));
  })().catch(() => {});
  let text = "";
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65536);
  try {
    while (text.split("\n").length - 1 < answersMax) {
      const length = await socket.read(chunk).catch(() => null);
      if (length === null) break;
      text += decoder.decode(chunk.subarray(0, length), { stream: true });
    }
  } finally {
    socket.close();
    await sending;
  }
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

Deno.test("call() gives null when no daemon runs", async () => {
  await withRunDir(async (dir) => {
    assertEquals(await call("list", {}, { dir }), null);
    Deno.writeTextFileSync(dir.socketPath, "");
    assertEquals(await call("list", {}, { dir }), null);
    assertEquals(await call("list", {}, { dir: runDirAt(`${dir.path}/missing`) }), null);
  });
});

Deno.test("serveControl() answers with results, warnings and typed errors", async () => {
  await withRunDir(async (dir) => {
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: (_params, context) => {
          context.warn("first");
          context.warn("second");
          return Promise.resolve({ volumes: [{ name: "käse" } as VolumeInfo] });
        },
      }),
    });
    const warnings: string[] = [];
    const result = await call("list", {}, { dir, onWarning: (warning) => warnings.push(warning) });
    assertEquals(result!.volumes[0]!.name, "käse");
    assertEquals(warnings, ["first", "second"]);
    const error = await assertRejects(
      () => call("detach", { volumes: [], all: true, force: false }, { dir }),
      UmpathError,
    );
    assertEquals([error.code, error.message, error.hint], ["refused", "Not here", "Go there"]);
    assertEquals(Deno.statSync(dir.socketPath).mode! & 0o777, 0o600);
  });
});

Deno.test("call() gets what is logged while a verbose request runs, and no more than it asks for", async () => {
  await withRunDir(async (dir) => {
    const noise = logger("noise");
    let lines = 0;
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: () => {
          for (let i = 0; i < lines; i++) noise.debug(() => `line ${i}`);
          return Promise.resolve({ volumes: [] });
        },
      }),
    });
    const ask = async (verbose: string) => {
      noise.warn("before");
      const answers = await raw(dir, `{"id":1,"method":"list"${verbose}}\n`, lines + 2);
      noise.warn("after");
      return answers;
    };
    lines = 2;
    assertEquals(await ask(',"verbose":true'), [
      { id: 1, log: { level: "debug", text: "noise: line 0" } },
      { id: 1, log: { level: "debug", text: "noise: line 1" } },
      { id: 1, result: { volumes: [] } },
    ]);
    lines = 0;
    const [wrong] = await ask(',"verbose":1');
    assertStringIncludes((wrong!.error as { message: string }).message, "its verbose is neither true nor false");
    assertEquals(await raw(dir, '{"id":1,"method":"list","verbose":false}\n', 1), [{ id: 1, result: { volumes: [] } }]);
    lines = 5000;
    const many = await raw(dir, '{"id":1,"method":"list","verbose":true}\n{"id":2,"method":"info"}\n', 2003);
    assertEquals(many.length, 2003);
    const cut = { id: 1, log: { level: "warn", text: "control: Further lines are in the log only" } };
    assertEquals(many.slice(-3), [cut, { id: 1, result: { volumes: [] } }, { id: 2, result: INFO }]);

    // The same through our client, which asks for them at level debug.
    lines = 1;
    const seen: string[] = [];
    setLogSink((line) => seen.push(line));
    setLogLevel("info");
    await call("list", {}, { dir });
    assertEquals(seen, []);
    setLogLevel("debug");
    await call("list", {}, { dir });
    // Once of the server, which is this process too, and once of the client.
    assertEquals(seen.filter((line) => line.endsWith("debug noise: line 0\n")).length, 2, seen.join(""));
  });
});

Deno.test("serveControl() turns what a handler throws into a bug with its message, and logs it", async () => {
  await withRunDir(async (dir) => {
    const lines: string[] = [];
    setLogSink((line) => lines.push(line));
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: () => Promise.reject(new TypeError("x is not a function")),
        info: () => Promise.resolve({ pid: 1n } as unknown as typeof INFO),
      }),
    });
    const error = await assertRejects(() => call("list", {}, { dir }), UmpathError);
    assertEquals([error.code, error.message], ["bug", "x is not a function"]);
    assertStringIncludes(lines.join(""), "control_server_test.ts");
    assertEquals((await assertRejects(() => call("info", {}, { dir }), UmpathError)).code, "bug");
  });
});

Deno.test("serveControl() answers malformed lines with an error and goes on", async () => {
  await withRunDir(async (dir) => {
    await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
    const bad: [string, string][] = [
      ["", "not JSON"],
      ["nonsense", "not JSON"],
      ["[1,2]", "not a JSON object"],
      ["null", "not a JSON object"],
      ['{"method":"list"}', "no whole number as id"],
      ['{"id":1.5,"method":"list"}', "no whole number as id"],
      ['{"id":3}', "names no method"],
      ['{"id":3,"method":"constructor"}', "names no method"],
      ['{"id":3,"method":"list","params":[]}', "params are not a JSON object"],
    ];
    for (const [line, why] of bad) {
      const [first, second] = await raw(dir, `${line}\n{"id":9,"method":"info"}\n`, 2);
      const error = first!.error as { code: string; message: string };
      assertEquals(error.code, "usage");
      assertStringIncludes(error.message, why);
      assertEquals(second, { id: 9, result: INFO });
    }
    const [first] = await raw(dir, new Uint8Array([0xff, 0xfe, 10]), 1);
    assertStringIncludes((first!.error as { message: string }).message, "not JSON");
  });
});

Deno.test("serveControl() refuses a line that is too long and drops only that connection", async () => {
  await withRunDir(async (dir) => {
    await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
    const [answer] = await raw(dir, "x".repeat(1024 * 1024 + 2), 1);
    assertStringIncludes((answer!.error as { message: string }).message, "longer than 1048576 bytes");
    assertEquals(await call("info", {}, { dir }), INFO);
  });
});

Deno.test("serveControl() survives random bytes", async () => {
  await withRunDir(async (dir) => {
    await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
    const prng = new Prng(1);
    for (let i = 0; i < 20; i++) {
      const bytes = Uint8Array.from({ length: 4096 }, () => prng.below(256));
      bytes[4095] = 10;
      await raw(dir, bytes, 1);
    }
    assertEquals(await call("info", {}, { dir }), INFO);
  });
});

Deno.test("serveControl() refuses parameters that do not fit, names method and field, and asks no handler", async () => {
  await withRunDir(async (dir) => {
    const asked: string[] = [];
    const detach = () => {
      asked.push("detach");
      return Promise.resolve({ detached: [] });
    };
    await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers({ detach }) });
    const bad: [params: string, words: string][] = [
      ["{}", "the field volumes is missing"],
      ['{"volumes":null,"all":"x","force":false}', "the field volumes is null, not a list"],
      ['{"volumes":[5],"all":false,"force":false}', "the field volumes[0] is 5, not a text"],
      ['{"volumes":[],"all":"yes","force":false}', 'the field all is "yes", not true or false'],
      ['{"volumes":[],"all":true,"force":false,"x":1}', "the field x is not known"],
    ];
    for (const [params, words] of bad) {
      const [answer] = await raw(dir, `{"id":7,"method":"detach","params":${params}}\n`, 1);
      const error = { code: "usage", message: `Cannot do "detach": ${words}` };
      assertEquals(answer, { id: 7, error });
    }
    assertEquals(asked, []);
  });
});

Deno.test("serveControl() tells a client of another version so, and does what it can", async () => {
  await withRunDir(async (dir) => {
    await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
    const [warning, result] = await raw(dir, '{"id":1,"version":"9.9.9","method":"list"}\n', 2);
    assertStringIncludes(String(warning!.warning), `This program has version 9.9.9, and the umpath daemon has version`);
    assertEquals(result, { id: 1, result: { volumes: [] } });
    for (const request of ['"method":"bogus"', '"method":"set","params":{"bogus":1}']) {
      const [answer] = await raw(dir, `{"id":1,"version":"9.9.9",${request}}\n`, 1);
      assertStringIncludes((answer!.error as { hint: string }).hint, "This program has version 9.9.9");
    }
    assertEquals(await raw(dir, '{"id":1,"version":"9.9.9","method":"info"}\n', 1), [{ id: 1, result: INFO }]);
    assertEquals(await call("list", {}, { dir, onWarning: (words) => assertEquals(words, "no warning") }), {
      volumes: [],
    });
  });
});

Deno.test("serveControl() drops a client that asks for nothing, and the oldest of them when room is needed", async () => {
  await withRunDir(async (dir) => {
    const clients: Deno.UnixConn[] = [];
    const isDropped = async (client: Deno.UnixConn) => await client.read(new Uint8Array(1)) === null;
    try {
      {
        await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
        for (let i = 0; i < 70; i++) clients.push(await Deno.connect({ transport: "unix", path: dir.socketPath }));
        assertEquals(await call("info", {}, { dir }), INFO);
        assert(await isDropped(clients[0]!), "the oldest made room");
      }
      await using _server = serveControl({ socketPath: dir.socketPath, handlers: handlers(), silenceMsMax: 20 });
      clients.push(await Deno.connect({ transport: "unix", path: dir.socketPath }));
      assert(await isDropped(clients.at(-1)!), "it was silent for too long");
    } finally {
      clients.forEach((client) => client.close());
    }
  });
});

Deno.test("serveControl() says that all clients have requests that run when there is no room", async () => {
  await withRunDir(async (dir) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let running = 0;
    const { promise: full, resolve } = Promise.withResolvers<void>();
    const list = async () => {
      if (++running === 64) resolve();
      await released;
      return { volumes: [] };
    };
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({ list }),
    });
    const busy = Array.from({ length: 64 }, () => call("list", {}, { dir }));
    await full;
    const refused = await assertRejects(() => call("info", {}, { dir }), UmpathError);
    assertStringIncludes(refused.message, "The umpath daemon has too many clients");
    release();
    assertEquals((await Promise.all(busy)).length, 64);
    assertEquals(await call("info", {}, { dir }), INFO);
  });
});

Deno.test("serveControl() runs several requests of a connection at once, in any order of answers", async () => {
  await withRunDir(async (dir) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: () => released.then(() => ({ volumes: [] })),
        info: () => Promise.resolve(INFO).finally(release),
      }),
    });
    const answers = await raw(dir, '{"id":1,"method":"list"}\n{"id":2,"method":"info"}\n', 2);
    assertEquals(answers.map((answer) => answer.id).toSorted(), [1, 2]);
  });
});

Deno.test("serveControl() is not hurt by a peer that leaves in the middle of a request, and tells the handler", async () => {
  await withRunDir(async (dir) => {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: async (_params, context) => {
          await new Promise<void>((left) => context.signal.addEventListener("abort", () => left()));
          context.warn("nobody hears this");
          resolve();
          return { volumes: [] };
        },
      }),
    });
    const socket = await Deno.connect({ transport: "unix", path: dir.socketPath });
    await socket.write(new TextEncoder().encode('{"id":1,"method":"list"}\n'));
    socket.close();
    await aborted;
    assertEquals(await call("info", {}, { dir }), INFO);
  });
});

Deno.test("serveControl() replaces the socket of a dead daemon but not that of a living one", async () => {
  await withRunDir(async (dir) => {
    Deno.writeTextFileSync(dir.socketPath, "left over");
    await using server = serveControl({ socketPath: dir.socketPath, handlers: handlers() });
    const error = assertThrows(() => serveControl({ socketPath: dir.socketPath, handlers: handlers() }), UmpathError);
    assertEquals(error.code, "in-use");
    assertStringIncludes(error.message, `process ${Deno.pid}`);
    assertEquals(await call("info", {}, { dir }), INFO);
    await server.close();
    assertEquals(await call("info", {}, { dir }), null);
    await serveControl({ socketPath: dir.socketPath, handlers: handlers() }).close();
  });
});

Deno.test("ControlServer.close() lets a request that runs finish", async () => {
  await withRunDir(async (dir) => {
    const { promise: started, resolve } = Promise.withResolvers<void>();
    const server = serveControl({
      socketPath: dir.socketPath,
      handlers: handlers({
        list: async () => {
          resolve();
          await new Promise((later) => setTimeout(later, 50));
          return { volumes: [] };
        },
      }),
    });
    const answer = call("list", {}, { dir });
    await started;
    await server.close();
    assertEquals(await answer, { volumes: [] });
  });
});

Deno.test("call() says that the daemon went away, or took too long", async () => {
  await withRunDir(async (dir) => {
    const listener = Deno.listen({ transport: "unix", path: dir.socketPath });
    const accepted = listener.accept();
    const slow = await assertRejects(() => call("list", {}, { dir, timeoutMs: 50 }), UmpathError);
    assertEquals(slow.code, "timed-out");
    assertStringIncludes(slow.message, "within 50ms");
    (await accepted).close();
    const closing = listener.accept().then((socket) => socket.close());
    await assertRejects(() => call("list", {}, { dir }), DaemonGoneError);
    await closing;
    listener.close();
  });
});

Deno.test("RunDirLock.take() is held by one and free after dispose", async () => {
  await withRunDir((dir) => {
    const lock = RunDirLock.take(dir);
    assertThrows(() => RunDirLock.take(dir), UmpathError, "already serves run folder");
    lock[Symbol.dispose]();
    RunDirLock.take(dir)[Symbol.dispose]();
    return Promise.resolve();
  });
});

Deno.test("ensureRunDir() makes a private folder and refuses one that others can reach", async () => {
  await withRunDir((dir) => {
    const made = ensureRunDir(runDirAt(`${dir.path}/made`));
    assertEquals(Deno.statSync(made.path).mode! & 0o777, 0o700);
    for (const mode of [0o750, 0o701, 0o777]) {
      Deno.chmodSync(made.path, mode);
      const error = assertThrows(() => ensureRunDir(made), UmpathError, "other users can reach it");
      assertEquals(error.code, "host-lacks");
    }
    Deno.writeTextFileSync(`${dir.path}/file`, "");
    assertThrows(() => ensureRunDir(runDirAt(`${dir.path}/file`)), UmpathError, "not a folder");
    const deep = ensureRunDir(runDirAt(`${dir.path}/no/such`));
    assertEquals(Deno.statSync(deep.path).mode! & 0o777, 0o700, "the folders above it are made");
    const error = assertThrows(() => ensureRunDir(runDirAt(`${dir.path}/file/x`)), UmpathError);
    assertMatch(error.message, /Cannot (use|make) run folder ".*\/file\/x": not a directory$/);
    assertEquals(error.hint, "Set UMPATH_RUN_DIR to a folder of its own");
    assertThrows(() => runDirAt(`/tmp/${"x".repeat(120)}`), UmpathError, "longer than 107 bytes");
    return Promise.resolve();
  });
});

Deno.test("ensureRunDir() refuses a folder of another user", { ignore: Deno.uid() !== 0 }, async () => {
  await withRunDir((dir) => {
    Deno.chownSync(dir.path, 65534, 65534);
    const error = assertThrows(() => ensureRunDir(dir), UmpathError, "belongs to user ID 65534");
    assert(error.hint !== undefined);
    return Promise.resolve();
  });
});
