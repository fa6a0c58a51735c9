/**
 * The first JavaScript in a grafted binary, in the main thread and in each worker. scripts/build_payload.ts appends
 * a call of bootMain(chunks) and embeds this as the main module.
 *
 * The bundled code lies, all chunks in one, in the embedded file "code". A chunk is a CommonJS function body that is
 * evaluated when something first asks for it: unlike an ES module it needs no second parse by the runtime, no module
 * graph and no Node.js compatibility layer, which together would take longer than all the rest of the start.
 *
 * @typedef {object} Bundle
 * @property {Record<string, string>} fds      embedded file → its descriptor
 * @property {Record<string, [offset: number, size: number]>} chunks  chunk → where it lies in "code"
 */

/** Runs the chunk `entry`; everything it needs is inside, because a worker gets this function as text. */
function boot(bundle, entry) {
  const modules = new Map();
  const workerUrls = new Map();

  function read(name) {
    const [offset, size] = bundle.chunks[name];
    const bytes = new Uint8Array(size);
    using file = Deno.openSync(`/proc/self/fd/${bundle.fds.code}`);
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < size;) {
      const count = file.readSync(bytes.subarray(done));
      if (count === null) throw new Error(`The embedded code "${name}" is cut short`);
      done += count;
    }
    return new TextDecoder().decode(bytes);
  }

  function require(specifier) {
    const name = specifier.replace(/^\.\//, "");
    if (!(name in bundle.chunks)) return globalThis.process.getBuiltinModule(specifier);
    const known = modules.get(name);
    if (known) return known.exports;
    const module = { exports: {} };
    modules.set(name, module);
    const body = `(function(require,module,exports,UMPATH_ASSET){"use strict";${read(name)}\n})`;
    (0, eval)(`${body}\n//# sourceURL=umpath/${name}`)(require, module, module.exports, asset);
    return module.exports;
  }

  /** What `new URL("…", import.meta.url)` became: the URL of an embedded file or worker. */
  function asset(name) {
    if (name in bundle.fds) return new URL(`file:///proc/self/fd/${bundle.fds[name]}`);
    if (!workerUrls.has(name)) {
      // The type matters: the runtime would take a module without it for TypeScript, which reads f(a < b, c > (d)) otherwise.
      const source = `(${boot})(${JSON.stringify(bundle)},${JSON.stringify(name)});`;
      workerUrls.set(name, URL.createObjectURL(new Blob([source], { type: "application/javascript" })));
    }
    return new URL(workerUrls.get(name));
  }

  require(entry);
}

/** Undoes the entry stub's edits of the environment, so that the program and its children see what the user had. */
function restoreEnvironment(sets, unsets) {
  for (const name of sets) Deno.env.delete(name);
  const hidden = new RegExp(`^(${unsets.map((name) => name.replace("*", "[^=]*")).join("|")})=(.*)$`, "s");
  for (const entry of Deno.readTextFileSync("/proc/self/environ").split("\0")) {
    const match = hidden.exec(entry);
    if (match) Deno.env.set(match[1], match[2]);
  }
}

/** Starts the program in the main thread. */
// deno-lint-ignore no-unused-vars -- called by the line that the packer appends
function bootMain({ chunks, entry, sets, unsets }) {
  restoreEnvironment(sets, unsets);
  boot({ fds: Object.fromEntries(new URL(import.meta.url).searchParams), chunks }, entry);
}
