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

/* One ioctl on a device that is open only so long; closing it may be what carries the ioctl out. */
static int loop_ioctl(const char *path, int flags, unsigned long request, void *argument)
{
	int fd = open(path, flags | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = ioctl(fd, request, argument);
	if (rc < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* The number of a loop device that nobody uses at the moment; it is made if there is none. */
int um_loop_free(void)
{
	return loop_ioctl("/dev/loop-control", O_RDWR, LOOP_CTL_GET_FREE, NULL);
}

/* Makes the device node that no udev has made. */
int um_loop_make_node(const char *path, uint32_t major, uint32_t minor)
{
	return mknod(path, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 0;
}

/* Binds the loop device at `path` to the open file `fd`; -EBUSY if somebody else was faster. `flags` are LO_FLAGS_…;
 * `name` is what LOOP_GET_STATUS64 tells of the file. Scanning for partitions is I/O on the file. */
int um_loop_configure(const char *path, int32_t fd, uint32_t block_size, uint32_t flags, const char *name)
{
	struct loop_config config = {
		.fd = (uint32_t)fd,
		.block_size = block_size,
		.info = { .lo_flags = flags },
	};

	strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
	return loop_ioctl(path, O_RDWR, LOOP_CONFIGURE, &config);
}

/* LO_FLAGS_… of a loop device, or -ENXIO if it is bound to nothing. */
int um_loop_flags(const char *path)
{
	struct loop_info64 info;
	int rc = loop_ioctl(path, O_RDONLY, LOOP_GET_STATUS64, &info);

	return rc < 0 ? rc : (int)info.lo_flags;
}

/* Unbinds a loop device, at the latest when its last user closes it. */
int um_loop_clear(const char *path)
{
	return loop_ioctl(path, O_RDONLY, LOOP_CLR_FD, NULL);
}

/* Takes back an um_loop_clear() that waits for somebody who has the device open. */
int um_loop_keep(const char *path)
{
	struct loop_info64 info;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, LOOP_GET_STATUS64, &info))
		rc = -errno;
	info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
	if (!rc && ioctl(fd, LOOP_SET_STATUS64, &info))
		rc = -errno;
	close(fd);
	return rc;
}

/* The device has the size that its file has by now. */
int um_loop_resize(const char *path)
{
	return loop_ioctl(path, O_RDONLY, LOOP_SET_CAPACITY, NULL);
}
