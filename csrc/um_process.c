#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

int um_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int um_eventfd_signal(int32_t fd)
{
	uint64_t one = 1;
	ssize_t done;

	do
		done = write(fd, &one, sizeof(one));
	while (done < 0 && errno == EINTR);
	return done < 0 && errno != EAGAIN ? -errno : 0;
}

/* Only after poll() told that it is readable: it would block. */
int um_eventfd_drain(int32_t fd)
{
	uint64_t count;
	ssize_t done;

	do
		done = read(fd, &count, sizeof(count));
	while (done < 0 && errno == EINTR);
	return done < 0 && errno != EAGAIN ? -errno : 0;
}

int um_open(const char *path, uint32_t writable)
{
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int um_page_bytes(void)
{
	return (int)sysconf(_SC_PAGESIZE);
}

int um_close(int32_t fd)
{
	return close(fd) ? -errno : 0;
}

/* Marks the calling thread as one that the kernel needs to write dirty pages: its memory allocations must not wait
 * for the very device that it serves. */
int um_io_flusher(void)
{
	return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) ? -errno : 0;
}

int um_thread_name(const char *name)
{
	return prctl(PR_SET_NAME, name, 0, 0, 0) ? -errno : 0;
}
