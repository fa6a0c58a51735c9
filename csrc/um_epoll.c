#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <sys/epoll.h>

#define EVENTS_MAX 64

/* An epoll instance: a descriptor. */
int um_epoll(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* EPOLL_CTL_… for fd. Its events come with index and generation. */
int um_epoll_control(int32_t epoll, uint32_t operation, int32_t fd, uint32_t events, uint32_t index,
		     uint32_t generation)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)generation << 32 | index };

	return epoll_ctl(epoll, (int)operation, fd, &event) ? -errno : 0;
}

/* Waits until something is ready, and writes index, generation and events of each that is. The result is how many: at most
 * max, or EVENTS_MAX if that is less; the rest comes with the next call. A signal is no error: then it is none. */
int um_epoll_wait(int32_t epoll, uint32_t *ready, uint32_t max)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(epoll, events, max < EVENTS_MAX ? (int)max : EVENTS_MAX, -1);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		*ready++ = (uint32_t)events[i].data.u64;
		*ready++ = (uint32_t)(events[i].data.u64 >> 32);
		*ready++ = events[i].events;
	}
	return count;
}
