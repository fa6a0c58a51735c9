/* The kernel's ublk interface in our own words: headers of distributions are older than the kernels they run on. */
#ifndef UM_UBLK_ABI_H
#define UM_UBLK_ABI_H

#include <stdint.h>

struct um_ublk_ctrl_cmd {
	uint32_t dev_id;
	uint16_t queue_id;
	uint16_t len;
	uint64_t addr;
	uint64_t data[1];
	uint16_t dev_path_len;
	uint16_t pad;
	uint32_t reserved;
};

struct um_ublk_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result;
	uint64_t addr;
};

struct um_ublk_io_desc {
	uint32_t op_flags;
	uint32_t nr_sectors;
	uint64_t start_sector;
	uint64_t addr;
};

struct um_ublk_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state;
	uint16_t pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags;
	uint64_t ublksrv_flags;
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved1;
	uint64_t reserved2;
};

_Static_assert(sizeof(struct um_ublk_ctrl_cmd) == 32, "ublksrv_ctrl_cmd");
_Static_assert(sizeof(struct um_ublk_io_cmd) == 16, "ublksrv_io_cmd");
_Static_assert(sizeof(struct um_ublk_io_desc) == 24, "ublksrv_io_desc");
_Static_assert(sizeof(struct um_ublk_dev_info) == 64, "ublksrv_ctrl_dev_info");

#endif
