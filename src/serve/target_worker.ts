/** A data-plane thread of a target: runs the loop, and steps out of it only to hear what the main thread says. */
import { serveInbox, type WorkerScope } from "../io/worker_inbox.ts";
import { TargetPlane } from "./target_plane.ts";
import type { FromTargetWorker } from "./worker_messages.ts";

declare const self: WorkerScope;

serveInbox(self, { ioFlusher: false }, (tell: (message: FromTargetWorker) => void) => new TargetPlane(tell));
