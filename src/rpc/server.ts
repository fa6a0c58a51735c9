/**
 * The daemon's end of the control socket. Whatever a peer sends or however it leaves, only its own connection suffers:
 * a bad line is answered with an error, a handler that throws is answered with its error, and a peer that is gone is
 * forgotten. Connections, requests at a time and line lengths are bounded.
 */
import { messageOf, UmpathError } from "../base/errors.ts";
import { listenToLog, logger, type LogLevel } from "../base/log.ts";
import { count, listWords, oneLine, quote } from "../base/text.ts";
import { VERSION } from "../base/version.ts";
import type { Api } from "./host_api.ts";
import { API_FIELDS } from "./host_api_fields.ts";
import { encodeLine, LineTooLong, parseLine, readLines, writeAll } from "./lines.ts";
import { ControlListener, type DescriptorReserve } from "./listener.ts";
import type { Check } from "./fields.ts";
import { runDirAt, RunDirLock } from "./run_dir.ts";

/** Far above any request; a line beyond it is not a client of ours. */
const LINE_BYTES_MAX = 1024 * 1024;
/** More connections than any host has people and scripts at once. */
const CONNECTIONS_MAX = 64;
/** Requests of one connection that run at a time; further lines wait unread. */
const REQUESTS_MAX = 32;
const SILENCE_MS_MAX = 10_000;
/** A client that has been silent for less is about to ask. */
const SILENCE_MS_MIN = 200;
/** Log lines that a verbose request is sent: an attach over many paths writes a few hundred. */
const LOG_LINES_MAX = 2000;
/** How long `close()` waits for requests that are running. */
const CLOSE_GRACE_MS = 5000;

const log = logger("control");

/** What a handler has besides its parameters. */
export interface RequestContext {
  /** Sends a warning that the peer shows before the result. */
  warn(message: string): void;
  /** Aborted when the peer will ask nothing more (it is most likely gone) or the server closes. */
  signal: AbortSignal;
}

/** One function a method. What it throws is sent to the peer; other than {@linkcode UmpathError} counts as a bug. */
export type Handlers<A extends { [M in keyof A]: { params: unknown; result: unknown } } = Api> = {
  [M in keyof A]: (params: A[M]["params"], context: RequestContext) => Promise<A[M]["result"]>;
};

/** What each method takes: nothing is done before its parameters have passed. */
export type MethodFields<A = Api> = { readonly [M in keyof A]: Check };

/** Handlers when it does not matter of which methods: their parameters have passed the checks. */
type AnyHandlers = Record<string, (params: never, context: RequestContext) => Promise<unknown>>;

/** How a server answers. */
interface AnswerOptions {
  /** What errors call it: "umpath daemon". */
  name: string;
  handlers: AnyHandlers;
  fields: Record<string, Check>;
  silenceMsMax?: number | undefined;
}

/** Where to listen, and who answers. */
export interface ServeOptions {
  socketPath: string;
  handlers: Handlers;
  /** The lock of the socket's folder, if the caller holds it; else the server takes it while it lives. */
  lock?: RunDirLock;
  /** A client that asks for nothing in so long is dropped: ours ask at once. */
  silenceMsMax?: number;
  /** Descriptors that are kept back for clients. */
  reserve?: DescriptorReserve;
}

/**
 * Listens on the control socket from the moment it returns. Throws "in-use" if another daemon holds the lock; with the
 * lock in hand, a socket that is there is a dead daemon's, and is replaced.
 */
export function serveControl(options: ServeOptions): ControlServer {
  const folder = options.socketPath.slice(0, options.socketPath.lastIndexOf("/"));
  const ownLock = options.lock ? null : RunDirLock.take(runDirAt(folder));
  try {
    const { socketPath, handlers, silenceMsMax, reserve } = options;
    const answers = { name: "umpath daemon", handlers, fields: API_FIELDS, silenceMsMax, reserve };
    return listenControl(socketPath, { ...answers, lock: ownLock });
  } catch (error) {
    ownLock?.[Symbol.dispose]();
    throw error;
  }
}

/**
 * As {@linkcode serveControl}, for a caller that owns the socket's path, whatever listened there before. A lock that is
 * given is given back at the end.
 *
 * @throws UmpathError "host-lacks" if the host does not let us.
 */
export function listenControl<A extends { [M in keyof A]: { params: unknown; result: unknown } }>(
  socketPath: string,
  options: {
    name: string;
    handlers: Handlers<A>;
    fields: MethodFields<A>;
    lock?: RunDirLock | null;
    silenceMsMax?: number | undefined;
    reserve?: DescriptorReserve | undefined;
  },
): ControlServer {
  const { name, handlers, fields, lock = null, reserve = null, silenceMsMax } = options;
  const answers = { name, handlers: handlers as AnyHandlers, fields: fields as Record<string, Check>, silenceMsMax };
  return new ControlServer({ socketPath, lock, reserve, ...answers });
}

interface ServerOptions extends AnswerOptions {
  socketPath: string;
  lock: RunDirLock | null;
  reserve: DescriptorReserve | null;
}

/** The listening socket and its connections. */
export class ControlServer implements AsyncDisposable {
  readonly #listener: ControlListener;
  readonly #options: ServerOptions;
  readonly #connections = new Set<Connection>();
  #closing: Promise<void> | null = null;

  constructor(options: ServerOptions) {
    this.#options = options;
    const { socketPath, reserve } = options;
    this.#listener = new ControlListener({
      socketPath,
      reserve,
      accept: (socket) => this.#serve(socket),
      makeRoom: () => this.#makeRoom(SILENCE_MS_MIN),
    });
  }

  /** As {@linkcode ControlListener.listenIfGone}. */
  listenIfGone(): Promise<boolean> {
    return this.#listener.listenIfGone();
  }

  /**
   * Stops listening, lets requests that run finish (at most 5 s), then drops the connections. Do not await it inside a
   * handler: it waits for that handler.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#listener.close();
    const { promise: graceEnd, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CLOSE_GRACE_MS);
    await Promise.race([Promise.all([...this.#connections].map((connection) => connection.idle())), graceEnd]);
    clearTimeout(timer);
    for (const connection of this.#connections) connection.close();
    this.#options.lock?.[Symbol.dispose]();
  }

  #serve(socket: Deno.UnixConn): void {
    const connection = new Connection(socket, this.#options);
    if (this.#connections.size >= CONNECTIONS_MAX && !this.#makeRoom()) {
      const why = `it runs requests of ${count(CONNECTIONS_MAX, "client")} already`;
      const refusal = new UmpathError("in-use", `The ${this.#options.name} has too many clients: ${why}`, {
        hint: "Try again when one of them has its answer",
      });
      void connection.refuse(refusal);
      return;
    }
    this.#connections.add(connection);
    void connection.run().finally(() => this.#handleConnectionOver(connection));
  }

  #handleConnectionOver(connection: Connection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#options.reserve?.keepReserve();
  }

  /**
   * Drops the connection that has asked for nothing for the longest time; false if all have requests that run, or have
   * been silent for less than so long.
   */
  #makeRoom(silentForMs = 0): boolean {
    const before = performance.now() - silentForMs;
    const silent = [...this.#connections].filter(({ silentSinceMs }) =>
      silentSinceMs !== null && silentSinceMs <= before
    );
    silent.sort((a, b) => a.silentSinceMs! - b.silentSinceMs!);
    const oldest = silent[0];
    if (oldest === undefined) return false;
    oldest.close();
    return this.#connections.delete(oldest);
  }
}

/** One peer: reads its lines, runs its requests, and sends answers one after the other. */
class Connection {
  readonly #socket: Deno.UnixConn;
  readonly #options: AnswerOptions;
  readonly #gone = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #sending: Promise<void> = Promise.resolve();
  #closed = false;
  /** When the last of its requests ended, or it came; null while one runs. */
  #silentSinceMs: number | null = null;
  #silenceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: Deno.UnixConn, options: AnswerOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#beginSilence();
  }

  /** Since when no request of it runs; null while one does. */
  get silentSinceMs(): number | null {
    return this.#silentSinceMs;
  }

  #beginSilence(): void {
    this.#silentSinceMs = performance.now();
    this.#silenceTimer = setTimeout(() => this.close(), this.#options.silenceMsMax ?? SILENCE_MS_MAX);
  }

  #endSilence(): void {
    this.#silentSinceMs = null;
    clearTimeout(this.#silenceTimer);
  }

  async run(): Promise<void> {
    try {
      for await (const line of readLines(this.#socket, LINE_BYTES_MAX)) {
        while (this.#running.size >= REQUESTS_MAX) await Promise.race(this.#running);
        await this.#handleLine(line);
      }
      this.#gone.abort();
      await this.idle();
    } catch (error) {
      if (error instanceof LineTooLong) {
        await this.refuse(new UmpathError("usage", `Cannot read the request: ${error.message}`));
      } else if (!this.#closed) log.debug(`A client left: ${messageOf(error)}`);
    } finally {
      this.close();
    }
  }

  /** Ends when no request runs and every answer is sent. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    await this.#sending;
  }

  async refuse(error: UmpathError): Promise<void> {
    await this.#send({ id: null, error: error.toWire() });
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#silenceTimer);
    this.#gone.abort();
    this.#socket.close();
  }

  async #handleLine(line: Uint8Array): Promise<void> {
    const request = readRequest(line, this.#options);
    if ("error" in request) {
      log.info(`A request was refused: ${request.error.message}`);
      return await this.#send({ id: request.id, error: request.error.toWire() });
    }
    this.#endSilence();
    const running = this.#answer(request).finally(() => {
      this.#running.delete(running);
      if (this.#running.size === 0 && !this.#closed) this.#beginSilence();
    });
    this.#running.add(running);
  }

  async #answer(request: Request): Promise<void> {
    const { id, method } = request;
    const context: RequestContext = {
      warn: (message) => void this.#send({ id, warning: message }),
      signal: this.#gone.signal,
    };
    const handler = this.#options.handlers[method]!;
    const stopRelay = request.isVerbose ? this.#relayLog(id) : null;
    if (request.isForeign) context.warn(`${versionWords(this.#options.name, request.version!)}. ${VERSION_HINT}`);
    try {
      await this.#send({ id, result: await handler(request.params as never, context) });
    } catch (thrown) {
      const error = UmpathError.from(thrown);
      if (error.code === "bug" && error !== thrown) {
        log.error(`A bug in umpath ended the request ${quote(method)}`, thrown);
      }
      await this.#send({ id, error: error.toWire() });
    } finally {
      stopRelay?.();
    }
  }

  /** Sends the peer what is logged from now on, until the returned function is called. */
  #relayLog(id: number): () => void {
    let lines = 0;
    return listenToLog((level, text) => {
      if (lines++ < LOG_LINES_MAX) this.#sendLog(id, level, text);
      else if (lines === LOG_LINES_MAX + 1) this.#sendLog(id, "warn", `control: Further lines are in the log only`);
    });
  }

  #sendLog(id: number, level: LogLevel, text: string): void {
    if (!this.#closed) void this.#send({ id, log: { level, text } });
  }

  /** Sends after what was sent before; a peer that is gone is no error. */
  #send(answer: unknown): Promise<void> {
    const line = encodeLine(answer);
    this.#sending = this.#sending.then(async () => {
      if (this.#closed) return;
      try {
        await writeAll(this.#socket, line);
      } catch (error) {
        log.debug(`A client left before its answer: ${messageOf(error)}`);
        this.close();
      }
    });
    return this.#sending;
  }
}

interface Request {
  id: number;
  method: string;
  params: unknown;
  /** The peer is to have what is logged while this runs. */
  isVerbose: boolean;
  /** What the peer says of itself; undefined: nothing. */
  version: string | undefined;
  /** The peer is of another version, and its request changes something or shows much. */
  isForeign: boolean;
}

interface BadRequest {
  id: number | null;
  error: UmpathError;
}

const VERSION_HINT = "Detach all volumes, then attach them again, and the daemon has the version of the program";

function versionWords(name: string, version: string): string {
  return `This program has version ${oneLine(version)}, and the ${name} has version ${VERSION}`;
}

function readRequest(line: Uint8Array, { name, handlers, fields }: AnswerOptions): Request | BadRequest {
  let value: unknown;
  try {
    value = parseLine(line);
  } catch {
    return badRequest(null, "it is not JSON");
  }
  if (!isObject(value)) return badRequest(null, "it is not a JSON object");
  const { id, method, params = {}, verbose = false } = value;
  const version = typeof value.version === "string" ? value.version : undefined;
  const isForeign = version !== undefined && version !== VERSION;
  const hint = isForeign ? `${versionWords(name, version)}. ${VERSION_HINT}` : undefined;
  if (typeof id !== "number" || !Number.isSafeInteger(id)) return badRequest(null, "it has no whole number as id");
  if (typeof method !== "string" || !Object.hasOwn(handlers, method)) {
    return badRequest(id, `it names no method of ${listWords(Object.keys(handlers))}`, hint);
  }
  if (!isObject(params)) return badRequest(id, "its params are not a JSON object", hint);
  if (typeof verbose !== "boolean") return badRequest(id, "its verbose is neither true nor false", hint);
  const fault = fields[method]!(params);
  if (fault === null) {
    return { id, method, params, isVerbose: verbose, version, isForeign: isForeign && method !== "info" };
  }
  const message = `Cannot do ${quote(method)}: the field ${fault.at} ${fault.why}`;
  return { id, error: new UmpathError("usage", message, { hint }) };
}

function badRequest(id: number | null, why: string, hint?: string): BadRequest {
  return { id, error: new UmpathError("usage", `Cannot read the request: ${why}`, { hint }) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
