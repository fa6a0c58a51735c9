/** Numbers of Linux's system calls, which are the same on every architecture that umpath runs on (uapi headers). */

/** There is something to read (poll.h). */
export const POLLIN = 0x1;

/** The descriptor is in error (poll.h). */
export const POLLERR = 0x8;

/** Receive all that was asked for, unless the peer or an error ends it (socket.h). */
export const MSG_WAITALL = 0x100;
/** No SIGPIPE if the peer has closed (socket.h). */
export const MSG_NOSIGNAL = 0x4000;

/** The largest errno that the kernel can return (err.h). */
export const ERRNO_MAX = 4095;
