#define _GNU_SOURCE
#include "um_ublk_abi.h"
#include "umpath.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control_ring {
	int fd;
	char *ring;
	size_t ring_bytes;
	char *sqe;
	size_t sqe_bytes;
	struct io_uring_params p;
};

static void control_ring_close(struct control_ring *r)
{
	if (r->sqe != MAP_FAILED && r->sqe)
		munmap(r->sqe, r->sqe_bytes);
	if (r->ring != MAP_FAILED && r->ring)
		munmap(r->ring, r->ring_bytes);
	close(r->fd);
}

/* Control commands carry 80 bytes in the submission entry, which needs a ring of 128-byte entries. */
static int control_ring_open(struct control_ring *r)
{
	size_t sq_bytes, cq_bytes;

	memset(r, 0, sizeof(*r));
	r->p.flags = IORING_SETUP_SQE128;
	r->fd = (int)syscall(__NR_io_uring_setup, 1, &r->p);
	if (r->fd < 0)
		return -errno;
	sq_bytes = r->p.sq_off.array + r->p.sq_entries * sizeof(uint32_t);
	cq_bytes = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->ring_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
	r->sqe_bytes = r->p.sq_entries * 128;
	r->ring = mmap(NULL, r->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->sqe = mmap(NULL, r->sqe_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	if (r->ring == MAP_FAILED || r->sqe == MAP_FAILED) {
		control_ring_close(r);
		return -ENOMEM;
	}
	return 0;
}

/* One control command on /dev/ublk-control; blocks until the driver has answered and returns its answer. */
int um_ublk_control(int32_t fd, uint32_t opcode, uint32_t dev_id, uint32_t queue_id, void *buffer, uint32_t bytes,
		    uint64_t data)
{
	struct um_ublk_ctrl_cmd command = {
		.dev_id = dev_id,
		.queue_id = (uint16_t)queue_id,
		.len = (uint16_t)bytes,
		.addr = bytes ? (uint64_t)(uintptr_t)buffer : 0,
		.data = { data },
	};
	struct control_ring r;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	uint32_t *cq_head, *cq_tail;
	int rc;

	rc = control_ring_open(&r);
	if (rc)
		return rc;
	sqe = (void *)r.sqe;
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->off = opcode; /* cmd_op, in the low 32 bits */
	memcpy(r.sqe + 48, &command, sizeof(command));
	*(uint32_t *)(r.ring + r.p.sq_off.array) = 0;
	/* Release: the entry must be visible before the tail that announces it. */
	__atomic_store_n((uint32_t *)(r.ring + r.p.sq_off.tail), 1, __ATOMIC_RELEASE);
	cq_head = (uint32_t *)(r.ring + r.p.cq_off.head);
	cq_tail = (uint32_t *)(r.ring + r.p.cq_off.tail);
	do {
		unsigned submit = *(uint32_t *)(r.ring + r.p.sq_off.head) ? 0 : 1;

		rc = (int)syscall(__NR_io_uring_enter, r.fd, submit, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		if (rc < 0 && errno != EINTR) {
			rc = -errno;
			goto out;
		}
		/* Acquire: pairs with the kernel's release of the completion. */
	} while (*cq_head == __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE));
	cqe = (void *)(r.ring + r.p.cq_off.cqes);
	rc = cqe->res;
out:
	control_ring_close(&r);
	return rc;
}
