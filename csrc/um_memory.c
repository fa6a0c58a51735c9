#define _GNU_SOURCE
#include "umpath.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* Zeroed memory that is only backed once it is touched. With `lock` what was touched is never paged out; a host
 * that does not allow the lock still gets the memory. NULL if there is none. */
void *um_map(uint64_t bytes, uint32_t lock)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (lock)
		(void)mlock2(p, bytes, MLOCK_ONFAULT);
	return p;
}

void *um_map_file(int32_t fd, uint64_t bytes, uint64_t offset, uint32_t writable)
{
	void *p = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
		       (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

int um_unmap(void *address, uint64_t bytes)
{
	return munmap(address, bytes) ? -errno : 0;
}

/* Makes a part of an area of um_map() zeroes, and gives the pages that are wholly in it back. */
int um_discard(void *address, uint64_t offset, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t end = offset + bytes;
	uint64_t first = (offset + page - 1) / page * page;
	uint64_t last = end / page * page;

	if (first >= last) {
		memset((char *)address + offset, 0, bytes);
		return 0;
	}
	if (madvise((char *)address + first, last - first, MADV_DONTNEED))
		return -errno;
	memset((char *)address + offset, 0, first - offset);
	memset((char *)address + last, 0, end - last);
	return 0;
}

/* Address space that nothing may touch before um_commit(): it costs neither memory nor, where memory is not overcommitted,
 * a part of what there is. NULL if there is not so much. */
void *um_reserve(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Makes whole pages of reserved address space memory as um_map() gives it. */
int um_commit(void *area, uint64_t offset, uint64_t bytes, uint32_t lock)
{
	char *p = (char *)area + offset;

	if (mprotect(p, bytes, PROT_READ | PROT_WRITE))
		return -errno;
	if (lock)
		(void)mlock2(p, bytes, MLOCK_ONFAULT);
	return 0;
}

/* Makes them address space again: new mappings in their place leave neither pages nor locks nor promises of memory. */
int um_decommit(void *area, uint64_t offset, uint64_t bytes)
{
	void *p = mmap((char *)area + offset, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		       0);

	return p == MAP_FAILED ? -errno : 0;
}

/* CRC32C (Castagnoli, reflected polynomial 0x82f63b78) a bit at a time: what the instructions below are checked against. */
static uint32_t crc32c_plain(uint32_t crc, const uint8_t *data, uint64_t bytes)
{
	while (bytes--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82f63b78u & -(crc & 1));
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_fast(uint32_t crc, const uint8_t *data, uint64_t bytes)
{
	uint64_t wide = crc, word;

	for (; bytes >= 8; bytes -= 8, data += 8) {
		memcpy(&word, data, 8);
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; bytes; bytes--)
		crc = _mm_crc32_u8(crc, *data++);
	return crc;
}

static int crc32c_is_fast(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t crc32c_fast(uint32_t crc, const uint8_t *data, uint64_t bytes)
{
	uint64_t word;

	for (; bytes >= 8; bytes -= 8, data += 8) {
		memcpy(&word, data, 8);
		crc = __crc32cd(crc, word);
	}
	for (; bytes; bytes--)
		crc = __crc32cb(crc, *data++);
	return crc;
}

static int crc32c_is_fast(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#else
#define crc32c_fast crc32c_plain
static int crc32c_is_fast(void)
{
	return 0;
}
#endif

/* Continues a CRC32C: start with 0, give the last result to go on. */
uint32_t um_crc32c(uint32_t crc, const uint8_t *data, uint64_t bytes)
{
	crc = ~crc;
	return ~(crc32c_is_fast() ? crc32c_fast(crc, data, bytes) : crc32c_plain(crc, data, bytes));
}

/* CRC32C of a part of an area, as a final value. */
uint32_t um_crc32c_part(const uint8_t *area, uint32_t offset, uint32_t bytes)
{
	return um_crc32c(0, area + offset, bytes);
}
