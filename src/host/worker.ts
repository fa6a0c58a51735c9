/** A data-plane thread of the daemon: runs the loop, and steps out of it only to hear what the main thread says. */
import { serveInbox, type WorkerScope } from "../io/worker_inbox.ts";
import { DataPlane } from "./data_plane.ts";
import type { FromWorker } from "./worker_messages.ts";

declare const self: WorkerScope;

serveInbox(self, { ioFlusher: true }, (tell: (message: FromWorker) => void) => new DataPlane(tell));
