#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef IORING_ENTER_REGISTERED_RING
#define IORING_ENTER_REGISTERED_RING (1U << 4)
#endif
#ifndef IORING_REGISTER_RING_FDS
#define IORING_REGISTER_RING_FDS 20
#define IORING_UNREGISTER_RING_FDS 21
#endif

static int enter(const struct um_ring *ring, uint32_t submit, uint32_t wait, uint32_t flags, const void *arg, size_t argsz)
{
	long rc = syscall(__NR_io_uring_enter, ring->enter_fd, submit, wait, flags | ring->enter_flags, arg, argsz);

	return rc < 0 ? -errno : (int)rc;
}

static void unmap(struct um_ring *ring)
{
	if (ring->sqes_addr)
		munmap((void *)(uintptr_t)ring->sqes_addr, ring->sqes_bytes);
	if (ring->ring_addr)
		munmap((void *)(uintptr_t)ring->ring_addr, ring->ring_bytes);
	close(ring->fd);
}

static void *map(int fd, uint64_t bytes, uint64_t offset)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

/* Saves the kernel the look-up of the descriptor at every turn; rings work without it. */
static void register_descriptor(struct um_ring *ring)
{
	struct io_uring_rsrc_update update = { .offset = -1U, .data = (uint64_t)ring->fd };

	if (syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
		ring->enter_fd = (int32_t)update.offset;
		ring->enter_flags = IORING_ENTER_REGISTERED_RING;
	}
}

int um_ring_setup(uint32_t sq_entries, uint32_t cq_entries, uint32_t flags, struct um_ring *ring)
{
	struct io_uring_params p;
	uint64_t sq_bytes, cq_bytes;
	long fd;
	int rc;

	memset(ring, 0, sizeof(*ring));
	memset(&p, 0, sizeof(p));
	p.flags = flags | IORING_SETUP_CQSIZE;
	p.cq_entries = cq_entries;
	fd = syscall(__NR_io_uring_setup, sq_entries, &p);
	if (fd < 0)
		return -errno;
	ring->fd = ring->enter_fd = (int32_t)fd;
	ring->features = p.features;
	rc = -ENOSYS;
	if (!(p.features & IORING_FEAT_SINGLE_MMAP) || !(p.features & IORING_FEAT_EXT_ARG))
		goto fail;

	sq_bytes = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
	cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	ring->ring_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
	ring->sqes_bytes = p.sq_entries * sizeof(struct io_uring_sqe);
	rc = -ENOMEM;
	ring->ring_addr = (uint64_t)(uintptr_t)map((int)fd, ring->ring_bytes, IORING_OFF_SQ_RING);
	if (!ring->ring_addr)
		goto fail;
	ring->sqes_addr = (uint64_t)(uintptr_t)map((int)fd, ring->sqes_bytes, IORING_OFF_SQES);
	if (!ring->sqes_addr)
		goto fail;

	ring->sq_entries = p.sq_entries;
	ring->cq_entries = p.cq_entries;
	ring->sq_head = p.sq_off.head;
	ring->sq_tail = p.sq_off.tail;
	ring->sq_flags = p.sq_off.flags;
	ring->sq_array = p.sq_off.array;
	ring->cq_head = p.cq_off.head;
	ring->cq_tail = p.cq_off.tail;
	ring->cq_overflow = p.cq_off.overflow;
	ring->cqes = p.cq_off.cqes;
	register_descriptor(ring);
	return 0;
fail:
	unmap(ring);
	return rc;
}

static uint32_t *ring_word(const struct um_ring *ring, uint32_t offset)
{
	return (uint32_t *)(uintptr_t)(ring->ring_addr + offset);
}

static uint32_t completions_tail(const struct um_ring *ring)
{
	/* Acquire: pairs with the kernel's release of the tail after it has written the entries. */
	return __atomic_load_n(ring_word(ring, ring->cq_tail), __ATOMIC_ACQUIRE);
}

static uint32_t completions_ready(const struct um_ring *ring)
{
	return completions_tail(ring) - ring->taken;
}

/* Completions that are ready and worth ending a turn for. The kind of one is the lowest byte of the upper half of
 * user_data (see src/io/token.ts). `quiet` has a bit for each kind (0 to 15) whose completions are not worth it if they
 * went well, and, 16 bits higher, one for each kind whose completions are not worth it if they found nothing (EAGAIN). */
static uint32_t completions_loud(const struct um_ring *ring, uint32_t quiet)
{
	const struct io_uring_cqe *cqes = (const struct io_uring_cqe *)(uintptr_t)(ring->ring_addr + ring->cqes);
	uint32_t ready = completions_ready(ring), loud = 0;

	for (uint32_t i = 0; i < ready; i++) {
		const struct io_uring_cqe *cqe = &cqes[(ring->taken + i) & (ring->cq_entries - 1)];

		uint32_t bit = (cqe->user_data >> 32) & 0xff;

		if (cqe->res < 0)
			bit = cqe->res == -EAGAIN ? bit + 16 : 32;
		loud += bit > 31 || !((quiet >> bit) & 1);
	}
	return loud;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Looks for `wait` completions for `spin_us`: 1 if they came, 0 if not, or -errno. */
static int spin(const struct um_ring *ring, uint32_t wait, uint32_t spin_us)
{
	uint64_t deadline = now_ns() + spin_us * 1000ull;
	int rc;

	do {
		rc = enter(ring, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		if (rc < 0)
			return rc;
		if (completions_ready(ring) >= wait)
			return 1;
	} while (now_ns() < deadline);
	return 0;
}

/* One turn of the loop: submit, and if `timeout_ms` is not 0 wait for a completion; look for it for `spin_us` before
 * sleeping, and sleep at most `timeout_ms` (negative: for ever). Completions that are `quiet` and come while their
 * entries are submitted are nothing to return for by themselves: then the wait is for one completion more.
 * Returns how many entries were submitted, with bit 30 set if a spin found a completion and bit 29 if it found none, so
 * that the caller can tell whether spinning pays. */
static int submit_and_wait(const struct um_ring *ring, uint32_t submit, uint32_t quiet, uint32_t spin_us,
			   int32_t timeout_ms)
{
	struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000, .tv_nsec = (timeout_ms % 1000) * 1000000ll };
	struct io_uring_getevents_arg arg = { .ts = (uint64_t)(uintptr_t)&ts };
	uint32_t wait = timeout_ms != 0;
	int submitted = 0, missed = 0, rc;

	if (wait && (spin_us || quiet)) {
		rc = enter(ring, submit, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		if (rc < 0 || (uint32_t)rc < submit)
			return rc;
		submitted = rc;
		submit = 0;
		if (completions_loud(ring, quiet))
			return submitted;
		wait = completions_ready(ring) + 1;
		if (spin_us) {
			rc = spin(ring, wait, spin_us);
			if (rc)
				return rc < 0 ? submitted : submitted | (1 << 30);
			missed = 1 << 29;
		}
	}
	if (timeout_ms <= 0)
		rc = enter(ring, submit, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	else
		rc = enter(ring, submit, wait, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg));
	if (rc < 0 && (submitted || rc == -ETIME || rc == -EINTR))
		rc = submit ? rc : 0;
	return rc < 0 ? rc : (rc + submitted) | missed;
}

/* A turn between what TypeScript has prepared and taken and what it finds afterwards: the barriers are here. */
int um_ring_turn(struct um_ring *ring, uint32_t submit, uint32_t quiet, uint32_t spin_us, int32_t timeout_ms)
{
	int rc;

	/* Release: entries are written before the kernel sees them, and completions read before it writes over them. */
	__atomic_store_n(ring_word(ring, ring->sq_tail), ring->prepared, __ATOMIC_RELEASE);
	__atomic_store_n(ring_word(ring, ring->cq_head), ring->taken, __ATOMIC_RELEASE);
	rc = submit_and_wait(ring, submit, quiet, spin_us, timeout_ms);
	ring->ready = completions_tail(ring);
	return rc;
}

int um_ring_close(struct um_ring *ring)
{
	struct io_uring_rsrc_update update = { .offset = (uint32_t)ring->enter_fd };

	if (ring->enter_flags)
		syscall(__NR_io_uring_register, ring->fd, IORING_UNREGISTER_RING_FDS, &update, 1);
	unmap(ring);
	return 0;
}
