# Kernels for the test machine, unpacked into $cache/kernels/{6.12,7} and never installed. Sourced by scripts/setup.
# Each folder holds vmlinuz, version and lib/modules/VERSION. A series that cannot be had leaves SERIES.unavailable,
# which says why and is tried again after a day.

kernels_install() {
  if [ "$(uname -m)" != x86_64 ]; then
    kernel_unavailable 6.12 "the test machine needs an x86_64 host"
    kernel_unavailable 7 "the test machine needs an x86_64 host"
    return
  fi
  kernel_install 6.12 bookworm-security trixie
  kernel_install 7 trixie-backports sid
}

# kernel_install SERIES SUITE...: the newest cloud kernel of the series in the first suite that has one.
kernel_install() {
  kernel_series=$1
  shift
  kernel_dir=$cache/kernels/$kernel_series
  [ -e "$kernel_dir/version" ] && return
  [ -z "$(find "$kernel_dir.unavailable" -mmin -1440 2>/dev/null)" ] || {
    say "kernel $kernel_series: $(cat "$kernel_dir.unavailable")"
    return
  }
  mkdir -p "$cache/kernels"
  for kernel_suite in "$@"; do
    kernel_work=$cache/kernels/.work-$kernel_series
    rm -rf "$kernel_work"
    say "kernel $kernel_series: looking in $kernel_suite"
    if kernel_unpack "$kernel_series" "$kernel_suite" "$kernel_work"; then
      mv "$kernel_work/tree" "$kernel_dir"
      rm -rf "$kernel_work" "$kernel_dir.unavailable"
      say "kernel $kernel_series: $(cat "$kernel_dir/version")"
      return
    fi
    rm -rf "$kernel_work"
  done
  kernel_unavailable "$kernel_series" "no usable cloud kernel package in $*; tests that need it are skipped"
}

kernel_unavailable() {
  mkdir -p "$cache/kernels"
  echo "$2" >"$cache/kernels/$1.unavailable"
  say "kernel $1: $2"
}

# kernel_mirrors SUITE: the repositories this machine already uses that may carry the suite.
kernel_mirrors() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$1" '$3 == "main" && (suite ~ /-security$/) == ($2 ~ /-security$/) { print $1 }' | sort -u
}

# kernel_apt PROGRAM ARGS...: apt with sources, lists and cache of its own under $kernel_work.
kernel_apt() {
  kernel_program=$1
  shift
  "$kernel_program" -qq -o APT::Sandbox::User=root -o APT::Architecture=amd64 -o Acquire::Languages=none \
    -o Acquire::Retries=2 -o Dir::Etc::SourceList="$kernel_work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$kernel_work/lists" -o Dir::Cache="$kernel_work/cache" "$@" 2>>"$kernel_work/log"
}

# kernel_unpack SERIES SUITE WORK: downloads and unpacks into WORK/tree; false when the suite has none.
kernel_unpack() {
  mkdir -p "$3/lists/partial" "$3/cache/archives/partial" "$3/deb" "$3/tree"
  kernel_keys=/usr/share/keyrings/debian-archive-keyring.gpg
  kernel_option=
  [ -e "$kernel_keys" ] && kernel_option="[signed-by=$kernel_keys] "
  kernel_mirrors "$2" | while read -r mirror; do
    echo "deb $kernel_option$mirror $2 main"
  done >"$3/sources.list"
  [ -s "$3/sources.list" ] && kernel_apt apt-get update || return 1

  kernel_names=$(kernel_apt apt-cache pkgnames linux- | kernel_candidates "$1")
  for kernel_name in $kernel_names; do
    kernel_fetch "$kernel_name" "$3" && return
    rm -rf "$3/tree" "$3/deb"
    mkdir -p "$3/deb" "$3/tree"
  done
  return 1
}

# kernel_candidates SERIES: of the package names on stdin, those with a kernel image, newest version first, three at most.
kernel_candidates() {
  kernel_pattern=$(echo "$1" | sed 's/\./\\./g')
  sed -n "s/^linux-\(image\|binary\)-\($kernel_pattern\.[0-9][^ ]*-cloud-amd64\)\(-unsigned\)\{0,1\}\$/\2 linux-\1-\2\3/p" |
    grep -v -e -dbg | sort -k1,1Vr -k2,2 | awk '{ print $2 }' | head -n 12
}

# kernel_fetch PACKAGE WORK: the image package and, where they are packed apart, its modules and their lists.
kernel_fetch() {
  kernel_release=$(echo "$1" | sed 's/^linux-\(image\|binary\)-//; s/-unsigned$//')
  kernel_packages=$1
  case $1 in linux-binary-*) kernel_packages="$1 linux-modules-$kernel_release linux-base-$kernel_release" ;; esac
  say "kernel $kernel_release: fetching $kernel_packages"
  (cd "$2/deb" && kernel_apt apt-get download $kernel_packages) || return 1
  for kernel_deb in "$2"/deb/*.deb; do
    dpkg -x "$kernel_deb" "$2/tree" || return 1
  done
  [ -d "$2/tree/lib" ] || { [ -d "$2/tree/usr/lib" ] && ln -s usr/lib "$2/tree/lib"; } || return 1
  kernel_image=
  for kernel_place in "$2/tree/boot/vmlinuz-$kernel_release" "$2/tree/lib/modules/$kernel_release/vmlinuz"; do
    [ -e "$kernel_place" ] && kernel_image=$kernel_place
  done
  [ -n "$kernel_image" ] && [ -d "$2/tree/lib/modules/$kernel_release/kernel" ] || return 1
  cp "$kernel_image" "$2/tree/vmlinuz"
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$2/tree" "$kernel_release" || return 1
  echo "$kernel_release" >"$2/tree/version"
}
