import { UmpathError } from "../../../src/base/errors.ts";
import type { Handlers } from "../../../src/rpc/server.ts";

/** Handlers that refuse every request but those that `answers` has a way with. */
export function refusingHandlers(answers: Partial<Handlers>): Handlers {
  const refuse = () => Promise.reject(new UmpathError("refused", "Not here", { hint: "Go there" }));
  return {
    ...{ attach: refuse, detach: refuse, set: refuse, rescan: refuse, list: refuse, info: refuse },
    ...{ "path-add": refuse, "path-remove": refuse, "path-disable": refuse, "path-enable": refuse },
    ...answers,
  };
}
