/* An NVMe/TCP target without storage, to measure initiators against: it answers as fast as one thread can, reads with
 * a fixed buffer, writes by taking and forgetting the data. One subsystem, one namespace of 4096-byte blocks.
 *
 * Usage: null_target [-s] [-r] [-c CONGESTION-CONTROL] ADDRESS...
 *   -s  sleeps while nothing arrives instead of looking for it all the time
 *   -r  answers reads with a response of their own instead of the SUCCESS flag of the data
 *   -c  congestion control of what it sends
 *
 * It prints "ready" and ends with its parent. It trusts its peer: not for anything but measuring. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PORT = 4420, CONNS_MAX = 64, IN_BYTES = 1 << 20, IOV_MAX_ = 512, DATA_BYTES = 1 << 20 };
enum { ICREQ = 0, ICRESP = 1, CAPSULE = 4, RESPONSE = 5, H2CDATA = 6, C2HDATA = 7, R2T = 9 };

struct conn {
	int fd;
	int is_listener;
	int is_admin;
	uint8_t *in;
	size_t have;
	size_t skip; /* bytes of write data that are still to come */
	uint16_t skip_cid;
	uint32_t left[65536]; /* of each command: write data that it still waits for */
	struct iovec iov[IOV_MAX_];
	int iovs, first;
	uint8_t headers[IOV_MAX_ * 128];
	size_t header_bytes;
};

static struct conn *conns[CONNS_MAX];
static int conn_count, separate_responses;
static uint8_t data[DATA_BYTES];

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static void put16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct conn *add_conn(int fd, int is_listener)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || conn_count == CONNS_MAX)
		die("too many connections");
	c->fd = fd;
	c->is_listener = is_listener;
	if (!is_listener && !(c->in = malloc(IN_BYTES)))
		die("malloc");
	return conns[conn_count++] = c;
}

static void listen_at(const char *address, const char *congestion)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, strlen(congestion)))
		die("congestion control");
	if (inet_pton(AF_INET, address, &at.sin_addr) != 1 || bind(fd, (void *)&at, sizeof(at)) || listen(fd, 64))
		die(address);
	add_conn(fd, 1);
}

/* Sends what it can; 0 if something is left. */
static int flush(struct conn *c)
{
	struct msghdr message = { .msg_iov = c->iov + c->first, .msg_iovlen = (size_t)(c->iovs - c->first) };
	ssize_t n;

	if (c->first == c->iovs)
		return 1;
	n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno != EAGAIN; /* a dead peer shows at the next receive */
	while (c->first < c->iovs && (size_t)n >= c->iov[c->first].iov_len)
		n -= (ssize_t)c->iov[c->first++].iov_len;
	if (c->first < c->iovs) {
		c->iov[c->first].iov_base = (uint8_t *)c->iov[c->first].iov_base + n;
		c->iov[c->first].iov_len -= (size_t)n;
		return 0;
	}
	c->first = c->iovs = 0;
	c->header_bytes = 0;
	return 1;
}

static uint8_t *header(struct conn *c, int type, int flags, size_t hlen, size_t bytes)
{
	uint8_t *p = c->headers + c->header_bytes;
	struct iovec *last = c->iovs ? &c->iov[c->iovs - 1] : NULL;

	c->header_bytes += hlen;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += hlen;
	else
		c->iov[c->iovs++] = (struct iovec){ p, hlen };
	memset(p, 0, hlen);
	p[0] = (uint8_t)type;
	p[1] = (uint8_t)flags;
	p[2] = (uint8_t)hlen;
	put32(p + 4, (uint32_t)(hlen + bytes));
	return p;
}

static void respond(struct conn *c, uint16_t cid, uint32_t result)
{
	uint8_t *p = header(c, RESPONSE, 0, 24, 0);

	put32(p + 8, result);
	put16(p + 16, 0xffff);
	put16(p + 20, cid);
}

static void send_data(struct conn *c, uint16_t cid, const uint8_t *from, uint32_t bytes)
{
	uint8_t *p = header(c, C2HDATA, separate_responses ? 4 : 4 | 8, 24, bytes);

	p[3] = 24;
	put16(p + 8, cid);
	put32(p + 16, bytes);
	c->iov[c->iovs++] = (struct iovec){ (void *)(uintptr_t)from, bytes };
	if (separate_responses)
		respond(c, cid, 0);
}

static void identify(struct conn *c, uint16_t cid, uint32_t cns)
{
	static uint8_t page[2][4096];
	uint8_t *p = page[cns == 1];

	if (cns == 1) {
		p[77] = 8; /* MDTS: 1 MiB */
		put32(p + 1792, (64 + 8192) / 16);
	} else {
		put32(p, 1 << 20);
		p[128 + 2] = 12;
	}
	send_data(c, cid, p, 4096);
}

static void fabrics(struct conn *c, const uint8_t *sqe, uint16_t cid)
{
	if (sqe[4] == 1 && get16(sqe + 42) == 0)
		c->is_admin = 1;
	/* Connect: controller 1; property get: ready and enabled. Both are a 1. */
	respond(c, cid, 1);
}

/* A capsule; how much of its data is in it. */
static void capsule(struct conn *c, const uint8_t *pdu, uint32_t inside)
{
	const uint8_t *sqe = pdu + 8;
	uint16_t cid = get16(sqe + 2);
	uint32_t bytes = get32(sqe + 32);

	if (sqe[0] == 0x7f)
		fabrics(c, sqe, cid);
	else if (c->is_admin && sqe[0] == 6)
		identify(c, cid, get32(sqe + 40));
	else if (!c->is_admin && sqe[0] == 2)
		send_data(c, cid, data, bytes);
	else if (!c->is_admin && sqe[0] == 1 && !inside) {
		uint8_t *p = header(c, R2T, 0, 24, 0);

		put16(p + 8, cid);
		put32(p + 16, bytes);
		c->left[cid] = bytes;
	} else
		respond(c, cid, 0);
}

/* Takes one PDU of `have` bytes at `p`: how many bytes of it, 0 if it is not complete. */
static size_t take(struct conn *c, const uint8_t *p, size_t have)
{
	uint32_t plen, bytes;
	size_t whole;

	if (have < 8 || have < p[2])
		return 0;
	plen = get32(p + 4);
	switch (p[0]) {
	case ICREQ:
		if (have < plen)
			return 0;
		put32(header(c, ICRESP, 0, 128, 0) + 12, 4 << 20);
		return plen;
	case CAPSULE:
		if (have < plen)
			return 0;
		capsule(c, p, plen - p[2]);
		return plen;
	case H2CDATA:
		bytes = get32(p + 16);
		c->skip_cid = get16(p + 8);
		c->left[c->skip_cid] -= bytes;
		whole = have - p[3] < bytes ? have : p[3] + bytes;
		c->skip = p[3] + bytes - whole;
		if (!c->skip && !c->left[c->skip_cid])
			respond(c, c->skip_cid, 0);
		return whole;
	}
	fprintf(stderr, "null_target: PDU of type %d\n", p[0]);
	exit(1);
}

static void parse(struct conn *c)
{
	size_t at = 0, n;

	if (c->skip) {
		at = c->have < c->skip ? c->have : c->skip;
		c->skip -= at;
		if (!c->skip && !c->left[c->skip_cid])
			respond(c, c->skip_cid, 0);
	}
	while (c->iovs + 4 <= IOV_MAX_ && (n = take(c, c->in + at, c->have - at)) > 0)
		at += n;
	c->have -= at;
	if (c->have && at)
		memmove(c->in, c->in + at, c->have);
}

static void close_conn(int index)
{
	struct conn *c = conns[index];

	close(c->fd);
	free(c->in);
	free(c);
	conns[index] = conns[--conn_count];
}

/* One look at a connection; 1 if there was something to do. */
static int serve(int index)
{
	struct conn *c = conns[index];
	ssize_t n;
	int fd, one = 1;

	if (c->is_listener) {
		fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK);
		if (fd < 0)
			return 0;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		add_conn(fd, 0);
		return 1;
	}
	if (!flush(c))
		return 0;
	n = recv(c->fd, c->in + c->have, IN_BYTES - c->have, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close_conn(index);
		return 1;
	}
	if (n > 0)
		c->have += (size_t)n;
	else if (!c->have)
		return 0;
	parse(c);
	if (c->iovs)
		flush(c);
	return n > 0;
}

static void sleep_until_ready(void)
{
	struct pollfd set[CONNS_MAX];
	int i;

	for (i = 0; i < conn_count; i++)
		set[i] = (struct pollfd){ conns[i]->fd, (short)(POLLIN | (conns[i]->iovs ? POLLOUT : 0)), 0 };
	poll(set, (nfds_t)conn_count, -1);
}

int main(int argc, char **argv)
{
	const char *congestion = NULL;
	int option, sleeps = 0, i, busy, idle = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((option = getopt(argc, argv, "src:")) != -1) {
		if (option == 's')
			sleeps = 1;
		else if (option == 'r')
			separate_responses = 1;
		else if (option == 'c')
			congestion = optarg;
		else
			return 2;
	}
	for (i = optind; i < argc; i++)
		listen_at(argv[i], congestion);
	puts("ready");
	fflush(stdout);
	for (;;) {
		busy = 0;
		for (i = conn_count - 1; i >= 0; i--) {
			/* Listeners are the first; they are looked at now and then. */
			if (!sleeps && conns[i]->is_listener && ++idle % 1021)
				continue;
			busy |= serve(i);
		}
		if (sleeps && !busy)
			sleep_until_ready();
	}
}
