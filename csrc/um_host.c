#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

/* Standard output and standard error go to the end of the file at path from now on, for all threads. */
int um_stdio_to(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600);
	int result = 0;

	if (fd < 0)
		return -errno;
	/* Only the open must not wait, as it would for the reader of a named pipe. */
	if (fcntl(fd, F_SETFL, O_APPEND) || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		result = -errno;
	if (fd > 2)
		close(fd);
	return result;
}

/* Writes some of it; may wait for as long as the file's end takes. */
int um_write(int32_t fd, const void *data, uint32_t bytes)
{
	ssize_t written = write(fd, data, bytes);

	return written < 0 ? -errno : (int)written;
}

/* Writes as much as can be taken without a wait; -EAGAIN if that is nothing. The end of a file is meant where fd is one. */
int um_write_now(int32_t fd, const void *data, uint32_t bytes)
{
	struct iovec part = { .iov_base = (void *)data, .iov_len = bytes };
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	ssize_t written = pwritev2(fd, &part, 1, -1, RWF_NOWAIT);

	/* Neither terminals nor all file systems can be asked so: a pipe that is ready takes a short line at once. */
	if (written < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)) {
		if (poll(&ready, 1, 0) < 1)
			return -EAGAIN;
		written = write(fd, data, bytes);
	}
	return written < 0 ? -errno : (int)written;
}

/* Programs that this process starts get none of the descriptors from first on. */
int um_keep_descriptors(uint32_t first)
{
	if (syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return 0;
	if (errno != ENOSYS && errno != EINVAL)
		return -errno;
	for (long fd = first, end = sysconf(_SC_OPEN_MAX); fd < end; fd++)
		fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

/* limits is {soft, hard}; ~0 stands for none. */
int um_limit(uint32_t resource, uint64_t *limits)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return -errno;
	limits[0] = limit.rlim_cur;
	limits[1] = limit.rlim_max;
	return 0;
}

int um_set_limit(uint32_t resource, uint64_t soft, uint64_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };

	return setrlimit(resource, &limit) ? -errno : 0;
}

/* The real-time signals, which TypeScript has no names for, end the process no more. */
int um_ignore_realtime_signals(void)
{
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		if (signal(number, SIG_IGN) == SIG_ERR)
			return -errno;
	return 0;
}

/* Writes back what is dirty of the device at path, or of the whole file system that the folder at path is in. */
int um_write_back(const char *path, uint32_t file_system)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int result;

	if (fd < 0)
		return -errno;
	result = (file_system ? syncfs(fd) : fsync(fd)) ? -errno : 0;
	close(fd);
	return result;
}
