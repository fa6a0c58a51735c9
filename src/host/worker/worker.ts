/** A data-plane thread of the daemon: runs the loop, and steps out of it only to hear what the main thread says. */
import { native } from "../../../ffi/library.ts";
import { setLogSink } from "../../base/log.ts";
import { serveInbox, type WorkerScope } from "../../io/worker_inbox.ts";
import { DataPlane } from "./data_plane.ts";
import type { FromWorker } from "./worker_messages.ts";

declare const self: WorkerScope;

const STDERR = 2;
const encoder = new TextEncoder();

// A line that cannot be written at once is lost: I/O waits for this thread.
setLogSink((line) => {
  const bytes = encoder.encode(line);
  native().um_write_now(STDERR, bytes, bytes.length);
});

serveInbox(self, { ioFlusher: true }, (tell: (message: FromWorker) => void) => new DataPlane(tell));
