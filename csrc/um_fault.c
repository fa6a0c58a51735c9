/* What the embedded target does to connections when it is told to do wrong. */
#include "umpath.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Resets a TCP connection: the peer gets RST, and whoever waits on the socket here ECONNRESET. The descriptor stays. */
int um_socket_reset(int32_t fd)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	return connect(fd, &nowhere, sizeof(nowhere)) ? -errno : 0;
}

/* Room for what has come in and was not taken yet, which the peer sees as the window. The kernel has a least size. */
int um_socket_window(int32_t fd, uint32_t bytes)
{
	int size = bytes > INT32_MAX ? INT32_MAX : (int)bytes;

	return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) ? -errno : 0;
}
