/** The rule of lint `umpath/layers`: what `scripts/layers.ts` refuses, shown where it is written. */
import { checkSource } from "./layers.ts";

const ROOT = new URL("..", import.meta.url).pathname;

const plugin: Deno.lint.Plugin = {
  name: "umpath-layers",
  rules: {
    layers: {
      create(context) {
        return {
          Program() {
            const path = context.filename.startsWith(ROOT) ? context.filename.slice(ROOT.length) : context.filename;
            if (!/^(main\.ts$|src\/|ffi\/)/.test(path)) return;
            const text = context.sourceCode.text;
            for (const { line, rule } of checkSource(path, text)) {
              const start = text.split("\n", line - 1).join("\n").length + (line > 1 ? 1 : 0);
              const end = text.indexOf("\n", start);
              context.report({ message: rule, range: [start, end < 0 ? text.length : end] });
            }
          },
        };
      },
    },
  },
};

export default plugin;
