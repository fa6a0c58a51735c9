#define _GNU_SOURCE
#include "umpath.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* True if `path` is the device or a partition of it: a name that ends in a digit has these behind a "p". */
static int is_of(const char *path, const char *device)
{
	size_t length = strlen(device);

	if (strncmp(path, device, length))
		return 0;
	path += length;
	if (*path == 0)
		return 1;
	if (*path++ != 'p' || *path == 0)
		return 0;
	while (isdigit((unsigned char)*path))
		path++;
	return *path == 0;
}

/* True if one of the descriptors in the folder is of the device. Only their names are read: nothing is opened. */
static int has_open(const char *folder, const char *device)
{
	char target[PATH_MAX];
	struct dirent *entry;
	DIR *fds = opendir(folder);
	int found = 0;

	if (!fds)
		return 0;
	while (!found && (entry = readdir(fds))) {
		ssize_t bytes = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		if (bytes <= 0)
			continue;
		target[bytes] = 0;
		found = is_of(target, device);
	}
	closedir(fds);
	return found;
}

/* The processes, other than this one, that have the device or a partition of it open, as far as the folder `proc` shows
 * them: their numbers in `pids`, at most `max`; the result is how many. Processes come and go meanwhile. */
int um_device_openers(const char *proc, const char *device, int32_t *pids, uint32_t max)
{
	char folder[PATH_MAX];
	struct dirent *entry;
	uint32_t count = 0;
	DIR *processes = opendir(proc);

	if (!processes)
		return -errno;
	while (count < max && (entry = readdir(processes))) {
		int32_t pid = (int32_t)atoi(entry->d_name);

		if (pid <= 0 || pid == getpid())
			continue;
		snprintf(folder, sizeof(folder), "%s/%d/fd", proc, pid);
		if (has_open(folder, device))
			pids[count++] = pid;
	}
	closedir(processes);
	return (int)count;
}
