/**
 * Rules of lint for calls of the operating system. `deno lint` runs them on `src`.
 *
 * - `umpath-calls/blocking`: the main thread of the daemon makes no call that may wait for a disk, a device or /proc.
 * - `umpath-calls/worded`: a refusal of the host reaches people in words: it is caught right there, or by `hostCall()`.
 *
 * Both are heuristics of one file. What is allowed is listed here, with the reason.
 */

type Node = Deno.lint.Node;

/** Code that runs on the daemon's main thread, or may. */
const DAEMON = /(^|\/)src\/(host|io|nvme|multipath|ublk|loopdev|block|base)\//;

/** Functions of the C library that may wait and are called on the spot, as they are not `nonblocking`. */
const BLOCKING_NATIVE = ["um_file_open", "um_file_lock", "um_file_trial", "um_file_truncate"];

/** Methods of open files that wait. */
const BLOCKING_METHODS =
  /^(writeSync|readSync|truncateSync|syncSync|syncDataSync|lockSync|tryLockSync|seekSync|statSync)$/;

/** Files that may wait, and why. */
export const MAY_BLOCK: Readonly<Record<string, string>> = Object.freeze({
  "src/rpc/run_dir.ts": "the lock is taken before anything is served; commands do the rest",
  "src/host/daemon/daemon_surroundings.ts": "before anything is served",
  "src/host/daemon/daemon_spawn.ts": "runs in commands",
  "src/host/daemon/host_identity.ts": "runs in commands",
  "src/rpc/listener.ts": "makes and removes one socket node at the start, at the end, and when it was removed",
  "src/host/device/left_devices.ts": "removes one socket node before anything is served",
  "src/host/device/device_record.ts": "notes of some bytes in the run folder, which is in memory",
  "src/io/process_identity.ts": "one line of /proc of this very process",
  "src/host/worker/standstill.ts":
    "a data-plane thread reads /proc of its own process when the main thread stands still",
  "src/block/file_device.ts": "belongs to the target, not to the daemon",
  "src/base/log.ts": "commands log to stderr; the daemon has a LogWriter",
});

/** Functions of the runtime that the host may refuse. */
const REFUSABLE = new RegExp(
  "^Deno\\.(open|create|mkdir|remove|rename|writeFile|writeTextFile|readFile|readTextFile|readDir|stat|lstat|chmod|" +
    "chown|link|symlink|readLink|realPath|truncate|makeTempDir|makeTempFile|copyFile|listen|connect|chdir)(Sync)?$",
);

/** What puts words to a refusal: a function that is given the call, or a method of its promise. */
const WORDERS = /(^|\.)(hostCall|catch)$/;

/** Files whose refusals somebody else puts into words, and who. */
export const WORDED_ELSEWHERE: Readonly<Record<string, string>> = Object.freeze({
  "src/demo": "the demo tells what failed as a whole",
  "src/serve/nqn_lock.ts": "UmpathError.from() words what is left",
  "src/serve/target_sockets.ts": "UmpathError.from() words what is left",
  "src/serve/storage_identity.ts": "UmpathError.from() words what is left",
  "src/serve/namespace_file.ts": "UmpathError.from() words what is left",
});

function pathOf(filename: string): string {
  return filename.slice(Math.max(0, filename.lastIndexOf("/src/") + 1));
}

function isListed(list: Readonly<Record<string, string>>, filename: string): boolean {
  const path = pathOf(filename);
  return Object.keys(list).some((entry) => path === entry || path.startsWith(`${entry}/`));
}

const blocking: Deno.lint.Rule = {
  create(context) {
    if (!DAEMON.test(context.filename) || isListed(MAY_BLOCK, context.filename)) return {};
    const hint = "Take the asynchronous call, or list the file in scripts/audit_calls.ts with the reason";
    return {
      MemberExpression(node) {
        const name = node.property.type === "Identifier" ? node.property.name : "";
        const object = context.sourceCode.getText(node.object);
        const isCalled = node.parent.type === "CallExpression" && node.parent.callee === node;
        const waits = object === "Deno"
          ? /Sync$/.test(name)
          : isCalled && (BLOCKING_METHODS.test(name) || BLOCKING_NATIVE.includes(name));
        if (waits) {
          context.report({ node, message: `"${name}" may wait, and everything waits for the main thread`, hint });
        }
      },
    };
  },
};

const worded: Deno.lint.Rule = {
  create(context) {
    if (!/(^|\/)src\//.test(context.filename) || isListed(WORDED_ELSEWHERE, context.filename)) return {};
    const text = (node: Node) => context.sourceCode.getText(node);
    return {
      CallExpression(node) {
        const callee = text(node.callee);
        if (!REFUSABLE.test(callee) || isWorded(node, text)) return;
        context.report({
          node,
          message: `A refusal of ${callee} passes without words`,
          hint: 'Wrap it: hostCall("Cannot write to …", () => …), or catch it right here',
        });
      },
    };
  },
};

/** True if the call stands in a try with a handler, is given to what words it, or its promise is. */
function isWorded(call: Node, text: (node: Node) => string): boolean {
  let node = call as Node & { parent?: Node };
  for (let parent = node.parent; parent !== undefined && parent !== null; parent = node.parent) {
    if (parent.type === "TryStatement" && parent.block === node && parent.handler !== null) return true;
    if (parent.type === "CallExpression" && WORDERS.test(text(parent.callee))) return true;
    node = parent as Node & { parent?: Node };
  }
  return false;
}

const plugin: Deno.lint.Plugin = { name: "umpath-calls", rules: { blocking, worded } };
export default plugin;
