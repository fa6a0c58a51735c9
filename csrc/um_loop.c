#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* One ioctl of the driver's control device. */
static int control_ioctl(unsigned long request, long argument)
{
	int fd = um_open("/dev/loop-control", 1);
	int rc;

	if (fd < 0)
		return fd;
	rc = ioctl(fd, request, argument);
	if (rc < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* The number of a loop device that nobody uses at the moment; it is made if there is none. Everybody who asks gets the
 * same one until somebody has bound it. */
int um_loop_free(void)
{
	return control_ioctl(LOOP_CTL_GET_FREE, 0);
}

/* Makes the loop device of that number; -EEXIST if there is one. */
int um_loop_add(int32_t number)
{
	return control_ioctl(LOOP_CTL_ADD, number);
}

/* Removes the loop device of that number; -EBUSY if it is bound or open. */
int um_loop_remove(int32_t number)
{
	return control_ioctl(LOOP_CTL_REMOVE, number);
}

/* Makes the device node that no udev has made. */
int um_loop_make_node(const char *path, uint32_t major, uint32_t minor)
{
	return mknod(path, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 0;
}

/* Binds the loop device at `path` to the open file `fd`; -EBUSY if somebody else was faster. `flags` are LO_FLAGS_…;
 * `name` is what LOOP_GET_STATUS64 tells of the file; `sequence` becomes the disk's, by which it is known from then on.
 * Scanning for partitions is I/O on the file. */
int um_loop_configure(const char *path, int32_t file, uint32_t block_size, uint32_t flags, const char *name,
		      uint64_t *sequence)
{
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = block_size,
		.info = { .lo_flags = flags },
	};
	int fd = um_open(path, 1);
	int rc;

	if (fd < 0)
		return fd;
	strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
	rc = ioctl(fd, LOOP_CONFIGURE, &config) ? -errno : um_disk_sequence(fd, sequence);
	close(fd);
	return rc;
}

/* Opens a loop device if it still is the disk of that sequence number; -ENXIO if it is bound to nothing, and -ESTALE if
 * it is bound to what is not ours. What is done on the descriptor is done to no other disk's loop device. */
static int open_bound(const char *path, uint32_t writable, uint64_t sequence)
{
	struct loop_info64 info;
	int fd = um_disk_open(path, writable, sequence);

	if (fd != -ESTALE)
		return fd;
	fd = um_open(path, 0);
	if (fd < 0)
		return fd;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) && errno == ENXIO) {
		close(fd);
		return -ENXIO;
	}
	close(fd);
	return -ESTALE;
}

/* One ioctl on a loop device that is open only so long; closing it may be what carries the ioctl out. */
static int loop_ioctl(const char *path, uint64_t sequence, unsigned long request, void *argument)
{
	int fd = open_bound(path, 0, sequence);
	int rc;

	if (fd < 0)
		return fd;
	rc = ioctl(fd, request, argument);
	if (rc < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* LO_FLAGS_… of a loop device. */
int um_loop_flags(const char *path, uint64_t sequence)
{
	struct loop_info64 info;
	int rc = loop_ioctl(path, sequence, LOOP_GET_STATUS64, &info);

	return rc < 0 ? rc : (int)info.lo_flags;
}

/* What a loop device was told that its file is called, at most LO_NAME_SIZE - 1 bytes and a zero. The kernel keeps it
 * although the file has no path any more. */
int um_loop_name(const char *path, uint64_t sequence, char *name, uint32_t bytes)
{
	struct loop_info64 info;
	int rc = bytes < LO_NAME_SIZE ? -EINVAL : loop_ioctl(path, sequence, LOOP_GET_STATUS64, &info);

	if (rc < 0)
		return rc;
	memcpy(name, info.lo_file_name, LO_NAME_SIZE);
	name[LO_NAME_SIZE - 1] = 0;
	return 0;
}

/* Unbinds a loop device, at the latest when its last user closes it. */
int um_loop_clear(const char *path, uint64_t sequence)
{
	return loop_ioctl(path, sequence, LOOP_CLR_FD, NULL);
}

/* Takes back an um_loop_clear() that waits for somebody who has the device open. */
int um_loop_keep(const char *path, uint64_t sequence)
{
	struct loop_info64 info;
	int fd = open_bound(path, 0, sequence);
	int rc = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, LOOP_GET_STATUS64, &info))
		rc = -errno;
	info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
	if (!rc && ioctl(fd, LOOP_SET_STATUS64, &info))
		rc = -errno;
	close(fd);
	return rc;
}

/* The device has the size that its file has by now. */
int um_loop_resize(const char *path, uint64_t sequence)
{
	return loop_ioctl(path, sequence, LOOP_SET_CAPACITY, NULL);
}
