# Debian packages: asks only for those whose program is missing. Sourced by scripts/setup.

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >&2
}

# packages_lack FILE-OR-COMMAND PACKAGE...: prints the packages when the file or command is not there.
packages_lack() {
  case $1 in
  /*) [ -e "$1" ] && return ;;
  *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 && return ;;
  esac
  shift
  echo "$@"
}

# packages_install PACKAGE...: one apt-get run; package lists are fetched only when the first try fails.
packages_install() {
  [ $# -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing and only root can install them: $*"
  command -v apt-get >/dev/null || fail "this machine has no apt-get; install what these Debian packages bring: $*"
  say "installing Debian packages: $*"
  if ! apt_get install -y --no-install-recommends "$@" 2>"$cache/apt.log"; then
    say "fetching the package lists"
    apt_get update || fail "cannot fetch the Debian package lists; check the machine's apt sources"
    apt_get install -y --no-install-recommends "$@" || fail "cannot install: $*"
  fi
  rm -f "$cache/apt.log"
}

packages_build() {
  packages_install $(
    packages_lack gcc gcc
    packages_lack /usr/include/stdio.h libc6-dev
    packages_lack /usr/include/linux/types.h linux-libc-dev
  )
}

# What only root can use: without, the demo works in user space.
packages_demo() {
  [ "$(id -u)" = 0 ] || return 0
  packages_install $(
    packages_lack mkfs.ext4 e2fsprogs
    packages_lack mount mount
  )
}

packages_vm() {
  packages_install $(
    packages_lack qemu-system-x86_64 qemu-system-x86
    packages_lack /usr/lib/qemu/virtiofsd qemu-system-common
    packages_lack busybox busybox-static
    packages_lack depmod kmod
    packages_lack fio fio
    packages_lack nvme nvme-cli
    packages_lack ip iproute2
    packages_lack nft nftables
    packages_lack mkfs.xfs xfsprogs
    packages_lack setpriv util-linux
  )
}
