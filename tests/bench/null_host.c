/* An NVMe/TCP host without a use for its data, to measure targets against: it asks as fast as one thread can, on an I/O
 * queue that somebody else has connected, and forgets what it is given. A library with one function.
 *
 * It trusts its peer: not for anything but measuring. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { IN_BYTES = 1 << 20, DEPTH_MAX = 1024, IN_CAPSULE_MAX = 8192, DATA_BYTES = 1 << 20, BLOCK_BYTES = 4096 };
enum { CAPSULE = 4, RESPONSE = 5, H2CDATA = 6, C2HDATA = 7, R2T = 9 };
enum { FLAG_LAST = 4, FLAG_SUCCESS = 8 };

struct load {
	int fd;
	int is_write;
	uint32_t depth;
	uint32_t bytes; /* of one command */
	uint32_t blocks; /* of the namespace */
	uint32_t random;
	uint64_t done;
	uint8_t *in;
	size_t have;
	size_t skip; /* bytes of read data that are still to come */
	uint8_t *out;
	size_t out_bytes, out_room;
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static void put16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t next_random(struct load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 17;
	l->random ^= l->random << 5;
	return l->random;
}

static uint8_t *room(struct load *l, size_t bytes)
{
	uint8_t *p = l->out + l->out_bytes;

	if (l->out_bytes + bytes > l->out_room)
		abort(); /* no more is in flight than the depth */
	l->out_bytes += bytes;
	return p;
}

/* A command for some block of the namespace; small data goes in its capsule. */
static void submit(struct load *l, uint16_t cid)
{
	uint32_t in_capsule = l->is_write && l->bytes <= IN_CAPSULE_MAX ? l->bytes : 0, count = l->bytes / BLOCK_BYTES;
	uint8_t *p = room(l, 72 + in_capsule), *sqe = p + 8;

	memset(p, 0, 72);
	p[0] = CAPSULE;
	p[2] = 72;
	p[3] = in_capsule ? 72 : 0;
	put32(p + 4, 72 + in_capsule);
	sqe[0] = l->is_write ? 1 : 2;
	sqe[1] = 0x40;
	put16(sqe + 2, cid);
	put32(sqe + 4, 1);
	put32(sqe + 32, l->bytes);
	sqe[39] = in_capsule ? 0x01 : 0x5a;
	put32(sqe + 40, next_random(l) % (l->blocks / count) * count);
	put32(sqe + 48, count - 1);
	if (in_capsule)
		memset(p + 72, 1, in_capsule);
}

static void send_data(struct load *l, const uint8_t *r2t)
{
	uint32_t offset = get32(r2t + 12), bytes = get32(r2t + 16);
	uint8_t *p = room(l, 24 + bytes);

	memset(p, 0, 24);
	p[0] = H2CDATA;
	p[1] = FLAG_LAST;
	p[2] = p[3] = 24;
	put32(p + 4, 24 + bytes);
	memcpy(p + 8, r2t + 8, 4);
	put32(p + 12, offset);
	put32(p + 16, bytes);
	memset(p + 24, 1, bytes);
}

static void answered(struct load *l, uint16_t cid)
{
	l->done++;
	submit(l, cid);
}

/* Takes one PDU of `have` bytes at `p`: how many bytes of it, 0 if it is not complete, -1 if it tells of an error. */
static ssize_t take(struct load *l, const uint8_t *p, size_t have)
{
	size_t plen, whole;

	if (have < 24)
		return 0;
	plen = get32(p + 4);
	switch (p[0]) {
	case RESPONSE:
		if (get16(p + 22) >> 1)
			return -1;
		answered(l, get16(p + 20));
		return 24;
	case R2T:
		send_data(l, p);
		return 24;
	case C2HDATA:
		/* The command after this one may go out before all data of this one is here: it is counted a little early. */
		if (p[1] & FLAG_SUCCESS)
			answered(l, get16(p + 8));
		whole = have < plen ? have : plen;
		l->skip = plen - whole;
		return (ssize_t)whole;
	}
	return -1;
}

static int parse(struct load *l)
{
	size_t at = 0;
	ssize_t n;

	at = l->have < l->skip ? l->have : l->skip;
	l->skip -= at;
	while ((n = take(l, l->in + at, l->have - at)) > 0)
		at += (size_t)n;
	if (n < 0)
		return -EPROTO;
	l->have -= at;
	if (l->have && at)
		memmove(l->in, l->in + at, l->have);
	return 0;
}

/* Sends what it can. */
static int flush(struct load *l)
{
	ssize_t n = send(l->fd, l->out, l->out_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	l->out_bytes -= (size_t)n;
	if (l->out_bytes && n)
		memmove(l->out, l->out + n, l->out_bytes);
	return 0;
}

static int turn(struct load *l)
{
	ssize_t n = recv(l->fd, l->in + l->have, IN_BYTES - l->have, MSG_DONTWAIT);
	int rc;

	if (n == 0)
		return -ECONNRESET;
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n > 0) {
		l->have += (size_t)n;
		if ((rc = parse(l)))
			return rc;
	}
	return l->out_bytes ? flush(l) : 0;
}

/* Loads the queue pair at `fd` for so long, with commands of `bytes` bytes at blocks anywhere, `depth` at a time; how
 * many were answered in the last `ms`, or -errno. What is in flight at the end stays so: the connection is of no more
 * use. */
int64_t null_host_run(int fd, int is_write, uint32_t depth, uint32_t bytes, uint32_t blocks, uint32_t warm_up_ms, uint32_t ms)
{
	struct load l = { .fd = fd, .is_write = is_write, .depth = depth, .bytes = bytes, .blocks = blocks, .random = 1 };
	uint64_t begin, end;
	int64_t before = -1;
	int rc = 0;

	if (depth > DEPTH_MAX || bytes > DATA_BYTES || bytes % BLOCK_BYTES)
		return -EINVAL;
	l.out_room = depth * ((size_t)bytes + 24 + 72 + IN_CAPSULE_MAX);
	l.in = malloc(IN_BYTES);
	l.out = malloc(l.out_room);
	if (!l.in || !l.out)
		rc = -ENOMEM;
	for (uint32_t cid = 0; !rc && cid < depth; cid++)
		submit(&l, (uint16_t)cid);
	begin = now_ns() + (uint64_t)warm_up_ms * 1000000u;
	end = begin + (uint64_t)ms * 1000000u;
	while (!rc) {
		uint64_t now = now_ns();

		if (before < 0 && now >= begin)
			before = (int64_t)l.done;
		if (now >= end)
			break;
		rc = turn(&l);
	}
	free(l.in);
	free(l.out);
	return rc ? rc : (int64_t)l.done - before;
}
