/** What a subsystem has for this host: the active namespaces behind one of its controllers. */

import { type AdminQueueOptions, connectAdminQueue, readCapabilities } from "./admin_steps.ts";
import { enable } from "./enable.ts";
import { readActiveNamespaces } from "./namespace_steps.ts";
import type { Steps } from "./steps.ts";

/** Brings an I/O controller up as far as its list of active namespaces; the IC exchange is done. In rising order. */
export function* listNamespaces(options: AdminQueueOptions): Steps<number[]> {
  yield* connectAdminQueue(options);
  yield* enable(yield* readCapabilities());
  return yield* readActiveNamespaces();
}
