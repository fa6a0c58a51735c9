#define _GNU_SOURCE
#include "umpath.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Parses "ADDR" or, for IPv6, "ADDR%SCOPE". Returns the length of the socket address, or -EINVAL. */
static int parse_address(const char *text, uint32_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;
	char plain[INET6_ADDRSTRLEN + 1];
	const char *scope = strchr(text, '%');
	size_t length = scope ? (size_t)(scope - text) : strlen(text);

	memset(out, 0, sizeof(*out));
	if (length >= sizeof(plain) || port > 65535)
		return -EINVAL;
	memcpy(plain, text, length);
	plain[length] = 0;
	if (!scope && inet_pton(AF_INET, plain, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, plain, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	if (scope) {
		v6->sin6_scope_id = if_nametoindex(scope + 1);
		if (!v6->sin6_scope_id)
			v6->sin6_scope_id = (uint32_t)strtoul(scope + 1, NULL, 10);
		if (!v6->sin6_scope_id)
			return -EINVAL;
	}
	return sizeof(*v6);
}

static int bind_host_end(int fd, const char *host_addr, const char *host_iface)
{
	struct sockaddr_storage from;
	int length, one = 1;

	if (host_iface && *host_iface &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, host_iface, (socklen_t)strlen(host_iface)))
		return -errno;
	if (host_addr && *host_addr) {
		length = parse_address(host_addr, 0, &from);
		if (length < 0)
			return length;
		/* The port is chosen at connect, so that many connections can share one source address. */
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&from, (socklen_t)length))
			return -errno;
	}
	return 0;
}

/* Begins a TCP connection without blocking, from `host_addr` and through `host_iface` where these are not empty.
 * Returns the socket; it is writable once connected or failed, and um_socket_connected() tells which. */
int um_tcp_connect(const char *addr, uint32_t port, const char *host_addr, const char *host_iface)
{
	struct sockaddr_storage to;
	int length, fd, rc, one = 1;

	length = parse_address(addr, port, &to);
	if (length < 0)
		return length;
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	rc = bind_host_end(fd, host_addr, host_iface);
	if (rc)
		goto fail;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, (socklen_t)length) && errno != EINPROGRESS) {
		rc = -errno;
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return rc;
}

/* 0, or the -errno with which the connection failed. A connected socket blocks from here on: a ring gives up at once
 * on one that does not, and everything else asks for MSG_DONTWAIT. */
int um_socket_connected(int32_t fd)
{
	int error = 0, flags;
	socklen_t length = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length))
		return -errno;
	if (error)
		return -error;
	flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) ? -errno : 0;
}

/* Listens on an address of this host; port 0 takes a free one. The listening socket does not block. */
int um_tcp_listen(const char *addr, uint32_t port, uint32_t backlog)
{
	struct sockaddr_storage at;
	int length, fd, rc, one = 1;

	length = parse_address(addr, port, &at);
	if (length < 0)
		return length;
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	/* A port whose last connections are still in TIME_WAIT can be had again. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    (at.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	    bind(fd, (struct sockaddr *)&at, (socklen_t)length) || listen(fd, (int)backlog)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/* Takes the next connection, or -EAGAIN. It blocks, as a ring wants it; a peer that has vanished is noticed in a
 * minute or so even if nothing is sent. */
int um_tcp_accept(int32_t listener)
{
	int one = 1, idle_s = 30, interval_s = 10, probes = 3;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	return fd;
}

/* The address of this end, or with `peer` of the other end, as text into `addr`; its port is returned. */
int um_socket_name(int32_t fd, uint32_t peer, char *addr, uint32_t bytes)
{
	struct sockaddr_storage name;
	const struct sockaddr_in *v4 = (const void *)&name;
	const struct sockaddr_in6 *v6 = (const void *)&name;
	socklen_t length = sizeof(name);

	if (peer ? getpeername(fd, (struct sockaddr *)&name, &length) : getsockname(fd, (struct sockaddr *)&name, &length))
		return -errno;
	if (name.ss_family == AF_INET)
		return inet_ntop(AF_INET, &v4->sin_addr, addr, bytes) ? ntohs(v4->sin_port) : -errno;
	if (name.ss_family == AF_INET6)
		return inet_ntop(AF_INET6, &v6->sin6_addr, addr, bytes) ? ntohs(v6->sin6_port) : -errno;
	return -EAFNOSUPPORT;
}

int um_socket_send(int32_t fd, const uint8_t *data, uint32_t bytes)
{
	ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	return n < 0 ? -errno : (int)n;
}

int um_socket_receive(int32_t fd, uint8_t *data, uint32_t bytes)
{
	ssize_t n = recv(fd, data, bytes, MSG_DONTWAIT);

	return n < 0 ? -errno : (int)n;
}

/* Ends both directions: every receive and send that waits on the socket comes back. */
int um_socket_shutdown(int32_t fd)
{
	return shutdown(fd, SHUT_RDWR) ? -errno : 0;
}

/* With `abort` what was not sent is thrown away, so that no stale command leaves after the close. */
int um_socket_close(int32_t fd, uint32_t abort)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (abort)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return close(fd) ? -errno : 0;
}
