#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Opens a regular file or a block device; with `direct` past the page cache, which not every file system has. With
 * `exclusive` a block device that is mounted, or held by another device or program, is -EBUSY, and nobody can mount or hold
 * it as long as this descriptor is open; a regular file must not be opened so. */
int um_file_open(const char *path, uint32_t writable, uint32_t direct, uint32_t exclusive)
{
	int extra = (direct ? O_DIRECT : 0) | (exclusive ? O_EXCL : 0);
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | extra | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int flags;

	if (fd < 0)
		return -errno;
	/* Without O_NONBLOCK the open of a FIFO would wait for ever; files and block devices do not mind either way. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK)) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/* -EWOULDBLOCK says that somebody else has had a lock that excludes this one for `wait_ms`. It is gone when the descriptor
 * is, which for a process that was killed is a while after its end: the kernel takes its rings apart first. */
int um_file_lock(int32_t fd, uint32_t exclusive, uint32_t wait_ms)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000000 };

	for (uint32_t waited_ms = 0;; waited_ms += 10) {
		if (!flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK || waited_ms >= wait_ms)
			return -errno;
		nanosleep(&pause, NULL);
	}
}

/* The size of a regular file or a block device. */
int64_t um_file_bytes(int32_t fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	return end < 0 ? -errno : end;
}

/* Reads `bytes` bytes at offset `bytes` into aligned memory: 0 if such reads work, whatever they find. */
int um_file_trial(int32_t fd, uint32_t bytes)
{
	void *page;
	ssize_t got;
	int rc = posix_memalign(&page, 4096, bytes);

	if (rc)
		return -rc;
	got = pread(fd, page, bytes, bytes);
	rc = got < 0 ? -errno : 0;
	free(page);
	return rc;
}

int um_file_truncate(int32_t fd, uint64_t bytes)
{
	return ftruncate(fd, (off_t)bytes) ? -errno : 0;
}

int um_file_sync(int32_t fd)
{
	return fsync(fd) ? -errno : 0;
}

/* Bytes that an ordinary user can still write to the file system of the file. */
int64_t um_file_free_bytes(int32_t fd)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs))
		return -errno;
	return (int64_t)(fs.f_bavail * fs.f_frsize);
}

/* Reads an extended attribute: how many bytes it has, -ENODATA if there is none, -EOPNOTSUPP if there can be none. */
int um_file_get_attribute(int32_t fd, const char *name, void *value, uint32_t bytes)
{
	ssize_t got = fgetxattr(fd, name, value, bytes);

	return got < 0 ? -errno : (int)got;
}

/* Makes an extended attribute: -EEXIST if it is there already. */
int um_file_make_attribute(int32_t fd, const char *name, const void *value, uint32_t bytes)
{
	return fsetxattr(fd, name, value, bytes, XATTR_CREATE) ? -errno : 0;
}
