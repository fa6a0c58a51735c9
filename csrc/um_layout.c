#include "um_ublk_abi.h"
#include "umpath.h"

#include <errno.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* In the order of `LAYOUT` in ffi/layout.ts. */
int um_layout(uint32_t *out, uint32_t count)
{
	const uint32_t layout[] = {
		1, /* version of this interface */
		sizeof(struct um_ring),
		offsetof(struct um_ring, ring_addr),
		offsetof(struct um_ring, sq_entries),
		offsetof(struct um_ring, cqes),
		offsetof(struct um_ring, prepared),
		sizeof(struct io_uring_sqe),
		offsetof(struct io_uring_sqe, off),
		offsetof(struct io_uring_sqe, addr),
		offsetof(struct io_uring_sqe, len),
		offsetof(struct io_uring_sqe, user_data),
		sizeof(struct io_uring_cqe),
		sizeof(struct msghdr),
		offsetof(struct msghdr, msg_iov),
		offsetof(struct msghdr, msg_iovlen),
		sizeof(struct iovec),
		sizeof(struct um_ublk_ctrl_cmd),
		sizeof(struct um_ublk_dev_info),
		sizeof(struct um_ublk_io_cmd),
		sizeof(struct um_ublk_io_desc),
		IORING_OP_URING_CMD,
		sizeof(struct fuse_in_header),
		sizeof(struct fuse_out_header),
		sizeof(struct fuse_init_out),
		sizeof(struct fuse_attr_out),
		offsetof(struct fuse_attr_out, attr.mode),
		sizeof(struct fuse_open_out),
		sizeof(struct fuse_read_in),
		sizeof(struct fuse_write_in),
		sizeof(struct fuse_fallocate_in),
		sizeof(struct fuse_statfs_out),
		offsetof(struct fuse_statfs_out, st.bsize),
	};
	const uint32_t have = sizeof(layout) / sizeof(layout[0]);

	if (count != have)
		return -EINVAL;
	for (uint32_t i = 0; i < have; i++)
		out[i] = layout[i];
	return (int)have;
}
