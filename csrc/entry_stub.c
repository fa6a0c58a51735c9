/*
 * The entry stub of the packed binary.
 *
 * dist/umpath is a copy of the deno executable with two more segments (scripts/build_graft.ts):
 * this code, and a payload of files. ld.so relocates deno and initialises libc as always and
 * then enters here instead of at deno's _start. The stub
 *
 *   0. ignores SIGXFSZ, so that a write beyond the limit on file sizes is an error that is told,
 *      refuses a limit on address space that V8 would end with a dump at, and opens a closed
 *      standard output for reading, so that the program can see that it has none;
 *   1. copies each embedded file into a sealed, close-on-exec memfd;
 *   2. builds a new argc/argv/envp/auxv block on the stack, which says
 *      deno run <flags> file:///proc/self/fd/N?NAME=N&NAME=M... <the user's arguments>;
 *   3. points libc's environ at the new environment and jumps to deno's _start.
 *
 * No exec, no child, no file written, nothing in deno's image patched but its entry point.
 *
 * Freestanding: no libc, no relocations, no writable data. Addresses in the header and in
 * struct config are link-time addresses of the deno image, written by the packer.
 */
typedef unsigned long u64;
typedef long i64;
typedef unsigned int u32;

#if defined(__x86_64__)
enum {
	SYS_write = 1,
	SYS_close = 3,
	SYS_rt_sigaction = 13,
	SYS_access = 21,
	SYS_fcntl = 72,
	SYS_exit_group = 231,
	SYS_openat = 257,
	SYS_prlimit64 = 302,
	SYS_memfd_create = 319
};

static inline i64 syscall4(i64 number, i64 a, i64 b, i64 c, i64 d)
{
	register i64 r10 __asm__("r10") = d;
	i64 result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static inline i64 syscall3(i64 number, i64 a, i64 b, i64 c)
{
	return syscall4(number, a, b, c, 0);
}

static inline i64 access_path(const char *path, i64 mode)
{
	return syscall3(SYS_access, (i64)path, mode, 0);
}

/* rdx holds ld.so's exit handler, which _start expects there. */
__asm__(".section .text.entry,\"ax\"\n"
	".globl stub_entry\n"
	"stub_entry:\n"
	"  mov %rsp, %rbp\n"
	"  mov %rdx, %r12\n"
	"  mov %rbp, %rdi\n"
	"  lea stub_header(%rip), %rsi\n"
	"  and $-16, %rsp\n"
	"  call stub_block_size\n"
	"  sub %rax, %rsp\n"
	"  and $-16, %rsp\n"
	"  mov %rsp, %rbx\n"
	"  mov %rbp, %rdi\n"
	"  lea stub_header(%rip), %rsi\n"
	"  mov %rbx, %rdx\n"
	"  call stub_main\n"
	"  mov %rbx, %rsp\n"
	"  mov %r12, %rdx\n"
	"  xor %ebp, %ebp\n"
	"  jmp *%rax\n"
	".text\n");

#elif defined(__aarch64__)
enum {
	SYS_fcntl = 25,
	SYS_faccessat = 48,
	SYS_openat = 56,
	SYS_close = 57,
	SYS_write = 64,
	SYS_exit_group = 94,
	SYS_rt_sigaction = 134,
	SYS_prlimit64 = 261,
	SYS_memfd_create = 279
};

static inline i64 syscall4(i64 number, i64 a, i64 b, i64 c, i64 d)
{
	register i64 x8 __asm__("x8") = number;
	register i64 x0 __asm__("x0") = a;
	register i64 x1 __asm__("x1") = b;
	register i64 x2 __asm__("x2") = c;
	register i64 x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

static inline i64 syscall3(i64 number, i64 a, i64 b, i64 c)
{
	return syscall4(number, a, b, c, 0);
}

static inline i64 access_path(const char *path, i64 mode)
{
	return syscall3(SYS_faccessat, -100 /* AT_FDCWD */, (i64)path, mode);
}

/* x0 holds ld.so's exit handler, which _start expects there. */
__asm__(".section .text.entry,\"ax\"\n"
	".globl stub_entry\n"
	"stub_entry:\n"
	"  mov x19, sp\n"
	"  mov x20, x0\n"
	"  mov x0, x19\n"
	"  adr x1, stub_header\n"
	"  bl stub_block_size\n"
	"  sub x21, x19, x0\n"
	"  and x21, x21, #-16\n"
	"  mov sp, x21\n"
	"  mov x0, x19\n"
	"  adr x1, stub_header\n"
	"  mov x2, x21\n"
	"  bl stub_main\n"
	"  mov x16, x0\n"
	"  mov sp, x21\n"
	"  mov x0, x20\n"
	"  mov x29, #0\n"
	"  mov x30, #0\n"
	"  br x16\n"
	".text\n");
#else
#error "entry_stub.c knows x86-64 and arm64 only: add the system call numbers and the entry code of this processor"
#endif

/* One embedded file; offsets count from struct config. */
struct file {
	u32 name;
	u32 offset;
	u64 size;
};

/* Written by scripts/build_graft.ts. Lists of strings are u32 offsets from struct config. */
struct config {
	u64 magic;
	u64 start;        /* address of deno's _start */
	u64 environ_slot; /* address of the GOT slot that points at libc's environ */
	u32 arg_count, args;
	u32 file_count, files;
	u32 set_count, sets;     /* "NAME=VALUE" that deno gets */
	u32 unset_count, unsets; /* "NAME", or a prefix "NAM*", that deno must not see */
};

/*
 * The first 24 bytes of the stub, patched by the packer. Reached only through the pointer that
 * the entry code passes, so that the compiler cannot fold the values.
 */
struct header {
	u64 magic;
	u64 self;   /* address of this header */
	u64 config; /* address of struct config */
};
__asm__(".section .text.header,\"ax\"\n"
	"stub_header:\n"
	"  .ascii \"UMSTUB01\"\n"
	"  .quad 0, 0\n"
	".text\n");

enum {
	FILES_MAX = 16,
	FD_MIN = 64, /* leaves inherited descriptors alone: systemd's start at 3, closed stdio stays closed */
	STDOUT = 1,
	EINTR = 4,
	EBADF = 9,
	EFBIG = 27,
	SIGXFSZ = 25,
	SIG_IGN = 1,
	SIGSET_BYTES = 8,
	RLIMIT_AS = 9,
	MIB_SHIFT = 20,
	MIB_OF_GIB = 1024,
	/* V8 reserves 32 GiB, and 48 GiB in some starts; the program, its threads and its rings come on top. */
	ADDRESS_SPACE_MIB = 64 * MIB_OF_GIB,
	SEARCHABLE = 1,
	READABLE = 4,
	MFD_CLOEXEC = 1,
	MFD_ALLOW_SEALING = 2,
	MFD_NOEXEC_SEAL = 8, /* Linux 6.3 */
	AT_FDCWD = -100,
	O_RDONLY = 0,
	F_DUPFD = 0,
	F_GETFD = 1,
	F_DUPFD_CLOEXEC = 1030,
	F_ADD_SEALS = 1033,
	ALL_SEALS = 1 | 2 | 4 | 8, /* SEAL, SHRINK, GROW, WRITE */
	URL_BYTES_PER_FILE = 320,  /* more than NAME_MAX plus '&', '=' and a number */
};

#define EXPORTED __attribute__((visibility("hidden"), used))

static u64 length(const char *text)
{
	u64 n = 0;

	while (text[n])
		n++;
	return n;
}

static void print(const char *text)
{
	syscall3(SYS_write, 2, (i64)text, length(text));
}

static __attribute__((noreturn)) void die(const char *what, const char *hint)
{
	print("umpath: Cannot start: ");
	print(what);
	print("\nhint: ");
	print(hint);
	print("\n");
	for (;;)
		syscall3(SYS_exit_group, 6, 0, 0);
}

static char *put_text(char *at, const char *text)
{
	while ((*at = *text)) {
		at++;
		text++;
	}
	return at;
}

static char *put_number(char *at, u64 number)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = '0' + number % 10;
	while (number /= 10);
	while (n)
		*at++ = digits[--n];
	*at = 0;
	return at;
}

/* Whether the environment entry "NAME=VALUE" is the one that key ("NAME", "NAME=..." or "NAM*") names. */
static int names_entry(const char *key, const char *entry)
{
	while (*key && *key != '=' && *key == *entry) {
		key++;
		entry++;
	}
	if (*key == '*')
		return 1;
	return (*key == 0 || *key == '=') && *entry == '=';
}

static int is_dropped(const char *text, const struct config *config, const char *entry)
{
	const u32 *sets = (const void *)(text + config->sets);
	const u32 *unsets = (const void *)(text + config->unsets);

	for (u32 i = 0; i < config->set_count; i++)
		if (names_entry(text + sets[i], entry))
			return 1;
	for (u32 i = 0; i < config->unset_count; i++)
		if (names_entry(text + unsets[i], entry))
			return 1;
	return 0;
}

static const struct config *find_config(const struct header *header)
{
	return (const void *)((const char *)header + (header->config - header->self));
}

static i64 create_memfd(const char *name)
{
	i64 fd = syscall3(SYS_memfd_create, (i64)name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL, 0);
	i64 high;

	if (fd < 0) /* a kernel before 6.3 */
		fd = syscall3(SYS_memfd_create, (i64)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0);
	if (fd < 0)
		die("the kernel made no memory file (memfd_create)",
		    "Allow memfd_create in the seccomp filter, or raise the limit on open files.");
	high = syscall3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_MIN);
	if (high < 0) /* the limit on open files is below FD_MIN: the low number serves as well */
		return fd;
	syscall3(SYS_close, fd, 0, 0);
	return high;
}

/* Copies an embedded file into a sealed memfd and returns its number. */
static u32 publish(const char *text, const struct file *file)
{
	i64 fd = create_memfd(text + file->name);
	const char *from = text + file->offset;
	u64 left = file->size;

	while (left) {
		i64 written = syscall3(SYS_write, fd, (i64)from, left);

		if (written == -EINTR)
			continue;
		if (written == -EFBIG)
			die("the limit on file sizes (ulimit -f) is below what its memory files need",
			    "Raise the limit: ulimit -f unlimited, or LimitFSIZE=infinity for a service.");
		if (written <= 0)
			die("a memory file could not be filled", "Give the process more memory.");
		from += written;
		left -= written;
	}
	syscall3(SYS_fcntl, fd, F_ADD_SEALS, ALL_SEALS);
	return fd;
}

/* Without a handler of ours, a write beyond the limit on file sizes would end the process. */
static void ignore_file_size_signal(void)
{
	struct {
		u64 handler, flags, restorer, mask;
	} action = {SIG_IGN, 0, 0, 0};

	syscall4(SYS_rt_sigaction, SIGXFSZ, (i64)&action, 0, SIGSET_BYTES);
}

/*
 * Deno opens /dev/null for reading and writing in the place of a closed standard output, and the
 * words of the program would be lost without an error. For reading only, it is left as it is.
 */
static void mark_closed_output(void)
{
	i64 fd;

	if (syscall3(SYS_fcntl, STDOUT, F_GETFD, 0) != -EBADF)
		return;
	fd = syscall4(SYS_openat, AT_FDCWD, (i64)"/dev/null", O_RDONLY, 0);
	if (fd < 0 || fd == STDOUT)
		return;
	syscall3(SYS_fcntl, fd, F_DUPFD, STDOUT); /* standard input was closed as well */
	syscall3(SYS_close, fd, 0, 0);
}

/* An unlimited address space is the largest number there is. */
static void check_address_space(void)
{
	struct {
		u64 now, most;
	} limit;
	char what[160], *at;
	u64 mib;

	if (syscall4(SYS_prlimit64, 0, RLIMIT_AS, 0, (i64)&limit) < 0)
		return;
	mib = limit.now >> MIB_SHIFT;
	if (mib >= ADDRESS_SPACE_MIB)
		return;
	at = put_text(what, "address space is limited to ");
	at = put_text(put_number(at, mib < MIB_OF_GIB ? mib : mib / MIB_OF_GIB), mib < MIB_OF_GIB ? " MiB" : " GiB");
	at = put_text(put_number(put_text(at, " (ulimit -v), and "), ADDRESS_SPACE_MIB / MIB_OF_GIB), " GiB are needed");
	die(what, "Raise the limit: ulimit -v unlimited, or LimitAS=infinity for a service. To limit memory, use MemoryMax=.");
}

/* An upper bound of the bytes that the block built by stub_main() takes. */
EXPORTED u64 stub_block_size(u64 *stack, const struct header *header)
{
	const struct config *config = find_config(header);
	u64 *p = stack + 1 + stack[0] + 1;

	while (*p++) /* envp */
		;
	while (p[0]) /* auxv */
		p += 2;
	return (u64)(p + 2) - (u64)stack + (config->arg_count + config->set_count + 4) * 8 +
	       config->file_count * URL_BYTES_PER_FILE + 64;
}

/* Fills block from the kernel's stack and returns the address of deno's _start. */
EXPORTED void *stub_main(u64 *stack, const struct header *header, u64 *block)
{
	char *base = (char *)header - header->self;
	const struct config *config = find_config(header);
	const char *text = (const char *)config;
	const u32 *args = (const void *)(text + config->args);
	const u32 *sets = (const void *)(text + config->sets);
	const struct file *files = (const void *)(text + config->files);
	u64 argc = stack[0], *argv = stack + 1, *envp = argv + argc + 1, *auxv = envp;
	u64 *out = block + 1, *url_slot, *environment, count = 0;
	u32 fds[FILES_MAX];
	char *url;

	while (*auxv++)
		;
	ignore_file_size_signal();
	check_address_space();
	mark_closed_output();
	if (config->file_count < 1 || config->file_count > FILES_MAX)
		die("its file table is damaged", "Build or download the program again.");
	if (access_path("/proc/self/fd", READABLE | SEARCHABLE) < 0)
		die("/proc/self/fd is not accessible",
		    "Mount /proc; and a program that its user may not read, or with file capabilities, must be run as root.");
	for (u32 i = 0; i < config->file_count; i++)
		fds[i] = publish(text, &files[i]);

	for (u32 i = 0; i < config->arg_count; i++)
		out[count++] = (u64)(text + args[i]);
	url_slot = &out[count++];
	for (u64 i = 1; i < argc; i++)
		out[count++] = argv[i];
	out[count] = 0;
	block[0] = count;

	environment = out += count + 1;
	count = 0;
	for (u64 *entry = envp; *entry; entry++)
		if (!is_dropped(text, config, (char *)*entry))
			out[count++] = *entry;
	for (u32 i = 0; i < config->set_count; i++)
		out[count++] = (u64)(text + sets[i]);
	out[count] = 0;
	out += count + 1;

	for (;; auxv += 2, out += 2) {
		out[0] = auxv[0];
		out[1] = auxv[1];
		if (!auxv[0])
			break;
	}
	out += 2;

	url = (char *)out;
	*url_slot = (u64)url;
	url = put_number(put_text(url, "file:///proc/self/fd/"), fds[0]);
	for (u32 i = 0; i < config->file_count; i++) {
		url = put_text(put_text(url, i ? "&" : "?"), text + files[i].name);
		url = put_number(put_text(url, "="), fds[i]);
	}

	**(u64 ***)(base + config->environ_slot) = environment;
	return base + config->start;
}
