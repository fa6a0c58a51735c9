/* What the ladder's steps could do if nothing was slow but the kernel and the memory: the same system calls, or the same
 * copies, from a loop in C. Each function works for `warm_up_ms` and then for `ms`, and gives how often it did its work
 * in the latter, or -errno. The rings are those of csrc/um_ring.c, set up as src/io/ring.ts does. */
#define _GNU_SOURCE
#include "../../csrc/umpath.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SUBMISSIONS = 64, COMPLETIONS = 128, SEND_BYTES_MAX = 4096 };

struct work {
	struct um_ring ring;
	uint32_t tail, pending;
	int fds[2];
	uint8_t *memory;
	uint32_t batch;
	uint32_t bytes;
	uint64_t storage_bytes;
	uint32_t random;
};

/* One unit of work: how much was done, or -errno. */
typedef int64_t step(struct work *w);

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t *ring_word(struct work *w, uint32_t offset)
{
	return (uint32_t *)(uintptr_t)(w->ring.ring_addr + offset);
}

static struct io_uring_sqe *prepare(struct work *w, uint8_t opcode, int fd)
{
	uint32_t index = w->tail++ & (w->ring.sq_entries - 1);
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)(uintptr_t)w->ring.sqes_addr + index;

	ring_word(w, w->ring.sq_array)[index] = index;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	w->pending++;
	return sqe;
}

static void prepare_bytes(struct work *w, uint8_t opcode, int fd, uint32_t at, uint32_t bytes)
{
	struct io_uring_sqe *sqe = prepare(w, opcode, fd);

	sqe->addr = (uint64_t)(uintptr_t)(w->memory + at);
	sqe->len = bytes;
	sqe->msg_flags = MSG_WAITALL;
}

/* Turns until `count` operations are complete: 0 or -errno. */
static int complete(struct work *w, uint32_t count)
{
	uint32_t *head = ring_word(w, w->ring.cq_head), *tail = ring_word(w, w->ring.cq_tail);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(uintptr_t)(w->ring.ring_addr + w->ring.cqes);

	__atomic_store_n(ring_word(w, w->ring.sq_tail), w->tail, __ATOMIC_RELEASE);
	while (count) {
		int rc = um_ring_turn(&w->ring, w->pending, 0, 0, -1);
		uint32_t at = *head, end;

		if (rc < 0)
			return rc;
		w->pending -= (uint32_t)rc;
		end = __atomic_load_n(tail, __ATOMIC_ACQUIRE);
		for (; at != end; at++, count--)
			if (cqes[at & (w->ring.cq_entries - 1)].res < 0)
				return cqes[at & (w->ring.cq_entries - 1)].res;
		__atomic_store_n(head, at, __ATOMIC_RELEASE);
	}
	return 0;
}

static int64_t nops(struct work *w)
{
	int rc;

	for (uint32_t i = 0; i < w->batch; i++)
		prepare(w, IORING_OP_NOP, -1);
	rc = complete(w, w->batch);
	return rc ? rc : (int64_t)w->batch;
}

static int pass(struct work *w, int from, int to)
{
	prepare_bytes(w, IORING_OP_RECV, to, w->bytes, w->bytes);
	prepare_bytes(w, IORING_OP_SEND, from, 0, w->bytes);
	return complete(w, 2);
}

static int64_t ping(struct work *w)
{
	int rc = pass(w, w->fds[0], w->fds[1]);

	if (!rc)
		rc = pass(w, w->fds[1], w->fds[0]);
	return rc ? rc : 1;
}

static int64_t stream(struct work *w)
{
	uint32_t half = w->batch * w->bytes;
	int rc;

	for (uint32_t i = 0; i < w->batch; i++)
		prepare_bytes(w, IORING_OP_SEND, w->fds[0], i * w->bytes, w->bytes);
	prepare_bytes(w, IORING_OP_RECV, w->fds[1], half, half);
	rc = complete(w, w->batch + 1);
	return rc ? rc : (int64_t)half;
}

/* `batch` copies from anywhere in the storage, which lies behind the places that they go to. */
static int64_t copies(struct work *w)
{
	uint32_t blocks = (uint32_t)(w->storage_bytes / w->bytes);
	const uint8_t *storage = w->memory + (size_t)w->batch * w->bytes;

	for (uint32_t i = 0; i < w->batch; i++) {
		w->random ^= w->random << 13;
		w->random ^= w->random >> 17;
		w->random ^= w->random << 5;
		memcpy(w->memory + (size_t)i * w->bytes, storage + (size_t)(w->random % blocks) * w->bytes, w->bytes);
	}
	/* The copies are for somebody. */
	__asm__ volatile("" : : "r"(w->memory) : "memory");
	return w->batch;
}

static int64_t run(struct work *w, step *step, uint32_t warm_up_ms, uint32_t ms)
{
	uint64_t begin = now_ns() + (uint64_t)warm_up_ms * 1000000u, end = begin + (uint64_t)ms * 1000000u, now;
	int64_t done = 0;

	while ((now = now_ns()) < end) {
		if (now < begin)
			done = 0;
		for (int i = 0; i < 64; i++) {
			int64_t rc = step(w);

			if (rc < 0)
				return rc;
			done += rc;
		}
	}
	return done;
}

static int64_t run_ring(step *step, uint32_t batch, uint32_t bytes, uint32_t warm_up_ms, uint32_t ms)
{
	struct work w = { .batch = batch, .bytes = bytes };
	uint32_t flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	int64_t rc;

	if (batch >= SUBMISSIONS || bytes > SEND_BYTES_MAX)
		return -EINVAL;
	rc = um_ring_setup(SUBMISSIONS, COMPLETIONS, flags, &w.ring);
	if (rc)
		return rc;
	w.memory = calloc(2, (size_t)batch * bytes + 1);
	if (!w.memory || socketpair(AF_UNIX, SOCK_STREAM, 0, w.fds)) {
		rc = -ENOMEM;
	} else {
		rc = run(&w, step, warm_up_ms, ms);
		close(w.fds[0]);
		close(w.fds[1]);
	}
	free(w.memory);
	um_ring_close(&w.ring);
	return rc;
}

/* NOPs, `batch` at a time. */
int64_t limit_nops(uint32_t batch, uint32_t warm_up_ms, uint32_t ms)
{
	return run_ring(nops, batch, 0, warm_up_ms, ms);
}

/* So many bytes there and back through a pair of sockets. */
int64_t limit_ping(uint32_t bytes, uint32_t warm_up_ms, uint32_t ms)
{
	return run_ring(ping, 1, bytes, warm_up_ms, ms);
}

/* Bytes in `batch` sends of `bytes` and one receive; the number of bytes. */
int64_t limit_stream(uint32_t batch, uint32_t bytes, uint32_t warm_up_ms, uint32_t ms)
{
	return run_ring(stream, batch, bytes, warm_up_ms, ms);
}

/* Copies of `bytes` from anywhere in so much memory. */
int64_t limit_copies(uint32_t batch, uint32_t bytes, uint32_t storage_mib, uint32_t warm_up_ms, uint32_t ms)
{
	struct work w = { .batch = batch, .bytes = bytes, .storage_bytes = (uint64_t)storage_mib << 20, .random = 1 };
	size_t all = (size_t)batch * bytes + w.storage_bytes;
	int64_t rc;

	w.memory = malloc(all);
	if (!w.memory)
		return -ENOMEM;
	memset(w.memory, 1, all);
	rc = run(&w, copies, warm_up_ms, ms);
	free(w.memory);
	return rc;
}
