/** Requests on the control socket that no client sends, and notes of devices in the run folder that no daemon wrote. */
import { assert, assertEquals } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { joinBytes } from "../../../src/base/bytes.ts";
import { setLogSink } from "../../../src/base/log.ts";
import { notedDevice, readNotes } from "../../../src/host/device/device_record.ts";
import { matchesLeft } from "../../../src/host/device/left_devices.ts";
import { parseLine, readLines } from "../../../src/rpc/lines.ts";
import { serveControl } from "../../../src/rpc/server.ts";
import { ensureRunDir, type RunDir, runDirAt } from "../../../src/rpc/run_dir.ts";
import { removeStaleDevice } from "../../../src/ublk/control.ts";
import { encodeDeviceInfo } from "../../../src/ublk/device_info.ts";
import { refusingHandlers } from "../host/handlers.ts";
import { FakeControl } from "../ublk/fake_control.ts";
import { fuzz, Tally } from "./harness.ts";
import { mutate, mutateText, pick } from "./mutator.ts";

async function withRunDir(test: (dir: RunDir) => Promise<void> | void): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-fuzz-" });
  setLogSink(() => {});
  try {
    await test(ensureRunDir(runDirAt(`${folder}/run`)));
  } finally {
    setLogSink(null);
    Deno.removeSync(folder, { recursive: true });
  }
}

const REQUESTS = [
  '{"id":1,"method":"list","params":{}}\n',
  '{"id":2,"method":"detach","params":{"volumes":["a"],"all":false,"force":true}}\n',
  '{"id":3,"method":"info"}\n',
].map((text) => new TextEncoder().encode(text));
const LAST = new TextEncoder().encode('\n{"id":4294967296,"method":"list"}\n');
/** Far above what twenty answers take. */
const ANSWERS_MS = 3_000;
const answersSeen = new Tally();

fuzz("serveControl() answers every garbled line with an error or a result, and goes on", 40, async (prng) => {
  await withRunDir(async (dir) => {
    const handlers = refusingHandlers({ list: () => Promise.resolve({ volumes: [] }) });
    await using _server = serveControl({ socketPath: dir.socketPath, handlers });
    const lines = Array.from({ length: 20 }, () => mutate(prng, pick(prng, REQUESTS), { other: pick(prng, REQUESTS) }));
    using socket = await Deno.connect({ transport: "unix", path: dir.socketPath });
    // A request that is not answered ends the answers.
    const giveUp = setTimeout(() => void socket.closeWrite(), ANSWERS_MS);
    const bytes = joinBytes([...lines, LAST]);
    const sending = (async () => {
      for (let done = 0; done < bytes.length;) {
        done += await socket.write(bytes.subarray(done, done + 1 + prng.below(3000)));
      }
    })();
    const expected = bytes.filter((byte) => byte === 10).length;
    let answers = 0, last = false;
    for await (const line of readLines(socket, 1 << 20)) {
      const { id, result, error } = parseLine(line) as { id: unknown; result?: unknown; error?: { code: string } };
      assert((result === undefined) !== (error === undefined) && (id === null || typeof id === "number"));
      assert(error === undefined || ["usage", "refused"].includes(error.code), error?.code);
      answersSeen.note(result !== undefined);
      if (id === 4294967296) last = result !== undefined;
      if (++answers === expected) break;
    }
    clearTimeout(giveUp);
    await sending;
    assertEquals(answers, expected, "Every line is answered");
    assert(last, "The last request is a good one, and is answered");
  });
}, answersSeen.atEnd());

const PATH = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null };
const CHANGES = { policy: null, preferredPath: { id: 0 }, weights: [{ path: PATH, weight: 2 }], timeouts: {} };
/** Good parameters of each method that changes something. */
const GOOD_PARAMS: Record<string, Record<string, unknown>> = {
  attach: {
    ...{ nqn: "nqn.2026-11.io.test:vol", nsid: 1, name: "vol", paths: [PATH], device: "auto", policy: "weighted" },
    ...{ queues: 1, depth: 16, readOnly: false, timeouts: { ioTimeoutMs: 5, writeHoldMs: "auto" } },
    ...{ hostNqn: "nqn.2026-11.io.test:host", hostId: "0f0e0d0c-0b0a-4908-8706-050403020100", force: true },
  },
  detach: { volumes: ["vol"], all: false, force: true },
  set: { volume: "vol", ...CHANGES },
  "path-add": { volume: "vol", path: PATH, force: true },
  "path-remove": { volume: "vol", path: { id: 3 }, force: true },
  "path-enable": { volume: "vol", path: PATH },
};
/** Values of every type, of which no field takes one. */
const WRONG_VALUES = [-1, 0.5, 1e300, -(2 ** 53), "\u0000", "../..", { x: 1 }, [[]], [{}], { id: {} }, true, []];

/** Every place in a value, as the keys that lead there. */
function placesIn(value: unknown, at: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [at];
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return [at, ...keys.flatMap((key) => placesIn((value as Record<string | number, unknown>)[key], [...at, key]))];
}

const paramsSeen = new Tally();

fuzz("serveControl() gives no handler a value of another type, whatever the field", 100, async (prng) => {
  await withRunDir(async (dir) => {
    const method = pick(prng, Object.keys(GOOD_PARAMS));
    const good = GOOD_PARAMS[method]!;
    const asked: unknown[] = [];
    const handler = (params: unknown) => {
      asked.push(params);
      return Promise.reject(new UmpathError("refused", "Not here"));
    };
    await using _server = serveControl({
      socketPath: dir.socketPath,
      handlers: refusingHandlers({ [method]: handler }),
    });
    const params = structuredClone(good);
    const place = pick(prng, placesIn(good).filter((keys) => keys.length > 0));
    const last = place.at(-1)!;
    const holder = place.slice(0, -1).reduce((value, key) => value[key] as never, params as Record<string, unknown>);
    const before = (holder as Record<string | number, unknown>)[last];
    const value = prng.below(4) === 0 ? before : pick(prng, WRONG_VALUES);
    (holder as Record<string | number, unknown>)[last] = value;
    using socket = await Deno.connect({ transport: "unix", path: dir.socketPath });
    await socket.write(new TextEncoder().encode(`${JSON.stringify({ id: 1, method, params })}\n`));
    for await (const line of readLines(socket, 1 << 20)) {
      const { error } = parseLine(line) as { error: { code: string; message: string } };
      const isTaken = error.code === "refused";
      paramsSeen.note(isTaken);
      assert(isTaken || error.code === "usage", `${method} ${place.join(".")}: ${error.code} ${error.message}`);
      if (!isTaken) assertEquals([asked.length, error.message.startsWith(`Cannot do "${method}": `)], [0, true]);
      const isSameType = typeof value === typeof before && Array.isArray(value) === Array.isArray(before);
      const takesOthers = before === null || place.includes("writeHoldMs");
      assert(!isTaken || isSameType || takesOthers, `${method} takes ${JSON.stringify(value)} for ${place.join(".")}`);
      break;
    }
  });
}, paramsSeen.atEnd());

const OWNER = 77;
const RECORD = /^(?:ublk|loop)-(0|[1-9]\d{0,8})$/;
const LEFT = encodeDeviceInfo({ devId: 7, queues: 2, depth: 128, maxIoBytes: 1 << 19, features: 66n, pid: OWNER });

fuzz("readNotes() reads any note, and only what is proved to be left is removed", 200, async (prng) => {
  await withRunDir(async (dir) => {
    const other = mutateText(prng, "ublk-7").toWellFormed().replace(/[/\0]/g, "_").slice(0, 60) || "x";
    const file = pick(prng, ["ublk-7", "ublk-7", `ublk-${prng.below(100)}`, other]);
    // Half a surrogate pair is not written as it is.
    const text = prng.below(3) === 0 ? `${OWNER}\nvol-1\n` : mutateText(prng, `${OWNER}\nvol-1\n`).toWellFormed();
    if (file === "." || file === "..") return;
    Deno.writeTextFileSync(`${dir.path}/${file}`, text);
    const [note = null, ...others] = await readNotes(dir);
    assertEquals([note !== null, others], [RECORD.test(file), []]);
    if (note === null || note.driver === "loop") return;
    assertEquals(notedDevice(note), `/dev/ublkb${/\d+/.exec(file)![0]}`);
    assertEquals(note.volume, text.split("\n")[1] ?? "");
    assert(!matchesLeft({ name: note.volume, device: notedDevice(note) }, "vol-2"));
    const control = new FakeControl();
    control.info = LEFT.slice();
    const outcome = control.run(removeStaleDevice(note.number, note.owner));
    assertEquals(outcome === "removed", note.number === 7 && note.owner.pid === OWNER, `${file}: ${text}`);
  });
});
