#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* A descriptor of the FUSE driver. It never blocks: who reads it learns from a poll when there is something. */
int um_fuse_open(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Another descriptor of the file system that `fd` serves: requests that are read from it are answered on it. */
int um_fuse_clone(int32_t fd)
{
	uint32_t from = (uint32_t)fd;
	int clone = um_fuse_open();
	int rc;

	if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &from) == 0)
		return clone;
	rc = -errno;
	close(clone);
	return rc;
}

/* Mounts a file system whose root is one regular file over the file `path`; `fd` serves it. Nobody but root sees it. */
int um_fuse_mount(int32_t fd, const char *path, uint32_t max_read)
{
	char options[96];

	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0,max_read=%u", fd, max_read);
	return mount("umpath", path, "fuse.umpath", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) ? -errno : 0;
}

/* With `force` everything that waits for an answer fails first, and the mount goes although somebody uses it. */
int um_fuse_unmount(const char *path, uint32_t force)
{
	return umount2(path, UMOUNT_NOFOLLOW | (force ? MNT_FORCE | MNT_DETACH : 0)) ? -errno : 0;
}

int um_fuse_read(int32_t fd, void *buffer, uint32_t bytes)
{
	ssize_t rc = read(fd, buffer, bytes);

	return rc < 0 ? -errno : (int)rc;
}

int um_fuse_write(int32_t fd, const void *buffer, uint32_t bytes)
{
	ssize_t rc = write(fd, buffer, bytes);

	return rc < 0 ? -errno : (int)rc;
}

/* Opens a file and has its attributes fetched anew, so that the kernel knows its size. Blocks until its server has
 * answered. */
int um_fuse_open_file(const char *path, uint32_t writable)
{
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
	struct statx info;
	int rc;

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &info) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* The size that the kernel has for a file of ours. stat(2) would not do: it tells the size of our answer, also when the
 * kernel drops that because a write ended meanwhile, and then reads nothing beyond the size that it has kept. */
int64_t um_fuse_file_bytes(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int64_t end;

	if (fd < 0)
		return -errno;
	end = um_file_bytes(fd);
	close(fd);
	return end;
}

/* close(2) for what may wait for an answer of ours, off the main thread. */
int um_close_slow(int32_t fd)
{
	return close(fd) ? -errno : 0;
}
