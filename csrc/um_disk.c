#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

/* The kernel's sequence number of the disk that is open: no other disk of this boot has it. */
int um_disk_sequence(int32_t fd, uint64_t *sequence)
{
	return ioctl(fd, BLKGETDISKSEQ, sequence) ? -errno : 0;
}

/* Opens a block device if it still is the disk of that sequence number; -ESTALE if its name is another disk's by now. */
int um_disk_open(const char *path, uint32_t writable, uint64_t sequence)
{
	uint64_t now;
	int fd = um_open(path, writable);
	int rc;

	if (fd < 0)
		return fd;
	rc = um_disk_sequence(fd, &now);
	if (!rc && now == sequence)
		return fd;
	close(fd);
	return rc ? rc : -ESTALE;
}

/* The disk takes writes, or takes none. */
int um_disk_read_only(const char *path, uint64_t sequence, uint32_t read_only)
{
	int value = read_only ? 1 : 0;
	int fd = um_disk_open(path, 0, sequence);
	int rc;

	if (fd < 0)
		return fd;
	rc = ioctl(fd, BLKROSET, &value) ? -errno : 0;
	close(fd);
	return rc;
}

/* Reads the first block of a disk past every cache: 0, or why it cannot be read. */
int um_disk_probe(const char *path, uint64_t sequence)
{
	const size_t bytes = 4096;
	int fd = um_disk_open(path, 0, sequence);
	int rc = 0;
	void *buffer = NULL;

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETFL, O_DIRECT))
		rc = -errno;
	else if (posix_memalign(&buffer, bytes, bytes))
		rc = -ENOMEM;
	else if (pread(fd, buffer, bytes, 0) < 0)
		rc = -errno;
	free(buffer);
	close(fd);
	return rc;
}
