/* umpath's door to the kernel: what TypeScript on Deno cannot call by itself, and no more than that.
 * Every function returns 0 or a positive result, or -errno. Nothing here keeps state of its own. */
#ifndef UMPATH_H
#define UMPATH_H

#include <stdint.h>

#define UM_API __attribute__((visibility("default")))

/* A ring as mapped by um_ring_setup(); TypeScript reads the offsets and maps the two areas. */
struct um_ring {
	int32_t fd;
	int32_t enter_fd; /* index of the registered ring descriptor, or fd */
	uint32_t enter_flags; /* IORING_ENTER_REGISTERED_RING if enter_fd is an index */
	uint32_t features;
	uint64_t ring_addr;
	uint64_t ring_bytes;
	uint64_t sqes_addr;
	uint64_t sqes_bytes;
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint32_t sq_head;
	uint32_t sq_tail;
	uint32_t sq_flags;
	uint32_t sq_array;
	uint32_t cq_head;
	uint32_t cq_tail;
	uint32_t cq_overflow;
	uint32_t cqes;
	/* What TypeScript says before a turn: entries prepared, completions taken; and learns after it: those ready. */
	uint32_t prepared;
	uint32_t taken;
	uint32_t ready;
	uint32_t unused;
};

/* um_layout.c: sizes and offsets that TypeScript compares with its own before it does anything else. */
UM_API int um_layout(uint32_t *out, uint32_t count);

/* um_ring.c */
UM_API int um_ring_setup(uint32_t sq_entries, uint32_t cq_entries, uint32_t flags, struct um_ring *ring);
UM_API int um_ring_turn(struct um_ring *ring, uint32_t submit, uint32_t quiet, uint32_t spin_us, int32_t timeout_ms);
UM_API int um_ring_close(struct um_ring *ring);

/* um_memory.c */
UM_API void *um_map(uint64_t bytes, uint32_t lock);
UM_API void *um_map_file(int32_t fd, uint64_t bytes, uint64_t offset, uint32_t writable);
UM_API int um_unmap(void *address, uint64_t bytes);
UM_API int um_discard(void *address, uint64_t offset, uint64_t bytes);
UM_API void *um_reserve(uint64_t bytes);
UM_API int um_commit(void *area, uint64_t offset, uint64_t bytes, uint32_t lock);
UM_API int um_decommit(void *area, uint64_t offset, uint64_t bytes);
UM_API uint32_t um_crc32c(uint32_t crc, const uint8_t *data, uint64_t bytes);
UM_API uint32_t um_crc32c_part(const uint8_t *area, uint32_t offset, uint32_t bytes);

/* um_socket.c */
UM_API int um_tcp_connect(const char *addr, uint32_t port, const char *host_addr, const char *host_iface);
UM_API int um_tcp_listen(const char *addr, uint32_t port, uint32_t backlog);
UM_API int um_tcp_accept(int32_t listener);
UM_API int um_socket_name(int32_t fd, uint32_t peer, char *addr, uint32_t bytes);
UM_API int um_socket_connected(int32_t fd);
UM_API int um_socket_send(int32_t fd, const uint8_t *data, uint32_t bytes);
UM_API int um_socket_receive(int32_t fd, uint8_t *data, uint32_t bytes);
UM_API int um_socket_shutdown(int32_t fd);
UM_API int um_socket_close(int32_t fd, uint32_t abort);

/* um_epoll.c */
UM_API int um_epoll(void);
UM_API int um_epoll_control(int32_t epoll, uint32_t operation, int32_t fd, uint32_t events, uint32_t index,
			    uint32_t generation);
UM_API int um_epoll_wait(int32_t epoll, uint32_t *ready, uint32_t max);

/* um_process.c */
UM_API int um_eventfd(void);
UM_API int um_eventfd_signal(int32_t fd);
UM_API int um_eventfd_drain(int32_t fd);
UM_API int um_page_bytes(void);
UM_API int um_open(const char *path, uint32_t writable);
UM_API int um_close(int32_t fd);
UM_API int um_io_flusher(void);
UM_API int um_thread_name(const char *name);
UM_API int um_device_openers(const char *proc, const char *device, int32_t *pids, uint32_t max);

/* um_host.c */
UM_API int um_stdio_to(const char *path);
UM_API int um_write(int32_t fd, const void *data, uint32_t bytes);
UM_API int um_write_now(int32_t fd, const void *data, uint32_t bytes);
UM_API int um_keep_descriptors(uint32_t first);
UM_API int um_limit(uint32_t resource, uint64_t *limits);
UM_API int um_set_limit(uint32_t resource, uint64_t soft, uint64_t hard);
UM_API int um_ignore_realtime_signals(void);
UM_API int um_write_back(const char *path, uint32_t file_system);

/* um_file.c */
UM_API int um_file_open(const char *path, uint32_t writable, uint32_t direct, uint32_t exclusive);
UM_API int um_file_lock(int32_t fd, uint32_t exclusive, uint32_t wait_ms);
UM_API int64_t um_file_bytes(int32_t fd);
UM_API int um_file_trial(int32_t fd, uint32_t bytes);
UM_API int um_file_truncate(int32_t fd, uint64_t bytes);
UM_API int um_file_sync(int32_t fd);
UM_API int64_t um_file_free_bytes(int32_t fd);
UM_API int um_file_get_attribute(int32_t fd, const char *name, void *value, uint32_t bytes);
UM_API int um_file_make_attribute(int32_t fd, const char *name, const void *value, uint32_t bytes);

/* um_fault.c */
UM_API int um_socket_reset(int32_t fd);
UM_API int um_socket_window(int32_t fd, uint32_t bytes);

/* um_ublk.c */
UM_API int um_ublk_control(int32_t fd, uint32_t opcode, uint32_t dev_id, uint32_t queue_id, void *buffer,
			   uint32_t bytes, uint64_t data);

/* um_fuse.c */
UM_API int um_fuse_open(void);
UM_API int um_fuse_clone(int32_t fd);
UM_API int um_fuse_mount(int32_t fd, const char *path, uint32_t max_read);
UM_API int um_fuse_unmount(const char *path, uint32_t force);
UM_API int um_fuse_read(int32_t fd, void *buffer, uint32_t bytes);
UM_API int um_fuse_write(int32_t fd, const void *buffer, uint32_t bytes);
UM_API int um_fuse_open_file(const char *path, uint32_t writable);
UM_API int64_t um_fuse_file_bytes(const char *path);
UM_API int um_close_slow(int32_t fd);

/* um_disk.c */
int um_disk_open(const char *path, uint32_t writable, uint64_t sequence);
int um_disk_sequence(int32_t fd, uint64_t *sequence);
UM_API int um_disk_read_only(const char *path, uint64_t sequence, uint32_t read_only);
UM_API int um_disk_probe(const char *path, uint64_t sequence);

/* um_loop.c */
UM_API int um_loop_free(void);
UM_API int um_loop_add(int32_t number);
UM_API int um_loop_remove(int32_t number);
UM_API int um_loop_make_node(const char *path, uint32_t major, uint32_t minor);
UM_API int um_loop_configure(const char *path, int32_t file, uint32_t block_size, uint32_t flags, const char *name,
			     uint64_t *sequence);
UM_API int um_loop_flags(const char *path, uint64_t sequence);
UM_API int um_loop_name(const char *path, uint64_t sequence, char *name, uint32_t bytes);
UM_API int um_loop_clear(const char *path, uint64_t sequence);
UM_API int um_loop_keep(const char *path, uint64_t sequence);
UM_API int um_loop_resize(const char *path, uint64_t sequence);

#endif
