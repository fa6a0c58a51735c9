/**
 * Rules of lint for two kinds of fault that reviews have found again and again. `deno lint` runs them on `src`.
 *
 * - `umpath/owned`: what is opened is closed though something throws right after it.
 * - `umpath/heeded-signal`: a signal that something is to be called off is looked at by whom it is given to.
 *
 * Both are heuristics of one file: they see a function, not what it calls.
 */

/** Classes whose objects hold memory, a descriptor, a thread or a lock, and calls that give such a thing. */
const OWNED_CLASSES = ["Ring", "Memory", "Wake", "Worker", "NamespaceFile"];
const OWNED_CALLS = [
  ...["Deno.open", "Deno.openSync", "Deno.listen", "Deno.connect", "Deno.makeTempDir", "Deno.makeTempDirSync"],
  ...["Memory.mapFile", "RunDirLock.take", "RunDirLock.tryTake", "tcpConnect", "WorkerThread.start"],
  ...["um_open", "um_file_open", "um_fuse_open", "um_fuse_clone", "um_fuse_open_file", "um_eventfd", "um_map"],
  ...["um_map_file", "um_tcp_accept", "um_tcp_listen", "um_ring_setup"],
];
/** Calls on or with the thing that hand it to an owner, or close it. */
const HANDED_OVER =
  /\.(set|push|add|use|adopt|defer|unshift|own|owe)\(|close|dispose|unmap|abandon|release|remove|kill/i;

type Node = Deno.lint.Node;
type Block = Deno.lint.BlockStatement;

/** The file's rules apply only to what is shipped. */
function isShipped(filename: string): boolean {
  return /(^|\/)src\//.test(filename);
}

/** What a call calls, as written: "Deno.open", "native().um_open" as "um_open". */
function calleeOf(text: string): string {
  return text.replace(/^(?:[\w#.]*\bnative\(\)|.*\blib(?:rary)?|this\.#\w+)\./, "");
}

/** The expression below `await`, checks and casts. */
function innermost(node: Node | null): Node | null {
  switch (node?.type) {
    case "AwaitExpression":
      return innermost(node.argument);
    case "TSNonNullExpression":
    case "TSAsExpression":
      return innermost(node.expression);
    default:
      return node;
  }
}

/** True if the expression gives something that has to be closed, perhaps through a check of its result. */
function isOwned(node: Node | null, text: (node: Node) => string): boolean {
  const inner = innermost(node);
  if (inner?.type === "NewExpression") return OWNED_CLASSES.includes(text(inner.callee));
  if (inner?.type !== "CallExpression") return false;
  const callee = text(inner.callee);
  if (OWNED_CALLS.includes(callee) || OWNED_CALLS.includes(calleeOf(callee))) return true;
  return /(^|\.)check$/.test(callee) && inner.arguments.some((argument) => isOwned(argument as Node, text));
}

function names(text: string, name: string): boolean {
  return new RegExp(`(?<![\\w.#])${name.replaceAll("$", "\\$")}\\b`).test(text);
}

/** What a statement means for something that is open: it is safe from now on, it may be lost here, or neither. */
function verdictOf(statement: Node, name: string, text: (node: Node) => string): "safe" | "lost" | "neither" {
  const words = text(statement);
  if (statement.type === "TryStatement") {
    const ends = [statement.finalizer, statement.handler].map((part) => part === null ? "" : text(part)).join();
    if (names(ends, name)) return "safe";
  }
  if (statement.type === "ReturnStatement") return names(words, name) ? "safe" : "lost";
  if (statement.type === "ExpressionStatement" && names(words, name)) {
    const { expression } = statement;
    if (expression.type === "AssignmentExpression" && names(text(expression.right), name)) return "safe";
    if (HANDED_OVER.test(words)) return "safe";
  }
  // Whether there is anything open at all: what is done with it there is judged by that branch alone.
  if (statement.type === "IfStatement" && names(text(statement.test), name)) {
    const branch = text(statement.consequent);
    return names(branch, name) && /return|\(/.test(branch) && !/\bthrow\b/.test(branch) ? "safe" : "neither";
  }
  if (/^using \w+ = new (Async)?DisposableStack\(\);$/.test(words)) return "neither";
  // An object made around it.
  if (
    statement.type === "VariableDeclaration" && new RegExp(`= new \\w+\\([^()]*\\b${name}\\b[^()]*\\);`).test(words)
  ) {
    return "neither";
  }
  const mayThrow = /\bthrow\b|\bawait\b|\bnew\s+\w|[\w\])]\s*\(/.test(words.replaceAll(/\bassert\([^;]*;/g, ""));
  return mayThrow ? "lost" : "neither";
}

const owned: Deno.lint.Rule = {
  create(context) {
    if (!isShipped(context.filename)) return {};
    const text = (node: Node) => context.sourceCode.getText(node);
    const look = (statements: readonly Node[]) => {
      statements.forEach((statement, at) => {
        if (statement.type !== "VariableDeclaration" || /using/.test(statement.kind)) return;
        for (const { id, init } of statement.declarations) {
          if (id.type !== "Identifier" || !isOwned(init, text)) continue;
          for (const next of statements.slice(at + 1)) {
            const verdict = verdictOf(next, id.name, text);
            if (verdict === "safe") return;
            if (verdict === "neither") continue;
            const message = `"${id.name}" stays open if what follows throws`;
            const hint = "Close it with `using`, with try … finally, or in the handler of a try that begins right here";
            return context.report({ node: statement, message, hint });
          }
        }
      });
    };
    return {
      Program: ({ body }) => look(body),
      BlockStatement: ({ body }: Block) => look(body),
      // What a constructor has opened is lost with the object when its next step throws.
      MethodDefinition({ kind, value }) {
        if (kind !== "constructor" || value.body === null) return;
        let before: string | null = null;
        for (const statement of value.body.body) {
          if (statement.type !== "ExpressionStatement" || statement.expression.type !== "AssignmentExpression") {
            continue;
          }
          const { left, right } = statement.expression;
          if (!isOwned(right, text)) continue;
          if (before !== null) {
            const message = `"${before}" stays open if "${text(left)}" cannot be made`;
            return context.report({ node: statement, message, hint: "Close the first in a handler of the second" });
          }
          before = text(left);
        }
      },
    };
  },
};

const heededSignal: Deno.lint.Rule = {
  create(context) {
    if (!isShipped(context.filename)) return {};
    const text = (node: Node) => context.sourceCode.getText(node);
    type Functional = Deno.lint.FunctionDeclaration | Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression;
    const look = (node: Functional) => {
      if (node.body === null) return;
      const body = text(node.body);
      for (const parameter of node.params as Deno.lint.Parameter[]) {
        if (parameter.type === "TSParameterProperty") continue;
        const target = parameter.type === "AssignmentPattern" ? parameter.left : parameter;
        if (!/\bAbortSignal\b/.test(text(parameter)) && !/^_?signal\b/.test(text(parameter))) continue;
        const found = target.type === "Identifier" ? [target.name] : signalsOf(text(target));
        for (const name of found.filter((name) => !names(body, name))) {
          context.report({ node: parameter, message: `"${name}" is given and not looked at: nothing is called off` });
        }
      }
    };
    return {
      FunctionDeclaration: look,
      FunctionExpression: look,
      ArrowFunctionExpression: look,
      VariableDeclarator({ id, init }) {
        if (id.type !== "Identifier" || init?.type !== "NewExpression" || text(init.callee) !== "AbortController") {
          return;
        }
        const source = context.sourceCode.text;
        if (!new RegExp(`\\b${id.name}\\.abort\\b|\\b${id.name}\\b(?!\\.)[,)]`).test(source)) {
          context.report({ node: id, message: `"${id.name}" is never aborted` });
        }
      },
    };
  },
};

/** The names that a destructured parameter binds signals to. */
function signalsOf(pattern: string): string[] {
  return [...pattern.split("}")[0]!.matchAll(/\b(signal)\b(?:\s*:\s*(\w+))?/g)].map(([, key, name]) => name ?? key!);
}

const plugin: Deno.lint.Plugin = { name: "umpath", rules: { owned, "heeded-signal": heededSignal } };
export default plugin;
