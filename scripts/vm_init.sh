#!/bin/sh
# The test machine's first process. The root file system is the host's, read-only, through virtiofs: an overlay on
# memory makes all of it writable for this run. Then it runs the one job that the host sends.
#
# Ports (virtio-serial): control (job and signals in; ready and exit code out), stdout, stderr, log (of the kernel).
# All but the first end with a NUL and the token that came with the job, so that the host knows it has everything.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

stage_root() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs devtmpfs /dev
  exec </dev/console >/dev/console 2>&1
  mount -t tmpfs tmpfs /run
  mkdir -p /run/vm/upper /run/vm/work /run/vm/root
  modprobe -d "$UMPATH_VM_KERNEL" overlay
  mount -t overlay -o lowerdir=/,upperdir=/run/vm/upper,workdir=/run/vm/work overlay /run/vm/root || exit 1
  for folder in proc sys dev; do mount --move "/$folder" "/run/vm/root/$folder"; done
  mkdir -p /run/vm/root/mnt
  cd /run/vm/root && pivot_root . mnt || exit 1
  exec chroot . /bin/sh "$1" mounted </dev/console >/dev/console 2>&1
}

# cover_tmp FOLDER...: a fresh /tmp in which these folders of the host stay visible.
cover_tmp() {
  for folder in "$@"; do
    case $folder in /tmp/*) ;; *) continue ;; esac
    mkdir -p "/run/vm/keep$folder"
    mount --bind "$folder" "/run/vm/keep$folder"
  done
  mount -t tmpfs -o mode=1777 tmpfs /tmp
  for folder in "$@"; do
    case $folder in /tmp/*) ;; *) continue ;; esac
    mkdir -p "$folder"
    mount --move "/run/vm/keep$folder" "$folder"
  done
}

mount_rest() {
  umount -l /mnt
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/vm /run/lock /dev/pts /dev/shm
  mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  cover_tmp "$UMPATH_VM_REPO" "$UMPATH_VM_CACHE"

  release=$(uname -r)
  mkdir -p "/lib/modules/$release"
  mount --bind "$UMPATH_VM_KERNEL/lib/modules/$release" "/lib/modules/$release"
  modprobe -q configfs
  mount -t configfs configfs /sys/kernel/config
  mount -t debugfs debugfs /sys/kernel/debug
  if [ -n "${UMPATH_VM_OUT:-}" ]; then
    mkdir -p /out
    mount -t virtiofs out /out
  fi
  ln -sfn /proc/self/fd /dev/fd
  ln -sfn /proc/self/fd/0 /dev/stdin
  ln -sfn /proc/self/fd/1 /dev/stdout
  ln -sfn /proc/self/fd/2 /dev/stderr
  busybox hostname umpath-vm
  ip link set lo up
  ulimit -l unlimited
  ulimit -n 1048576
}

# find_port NAME: sets $port to the device. The name appears when the port can be opened; the device file before that.
find_port() {
  while :; do
    for file in /sys/class/virtio-ports/*/name; do
      name=
      [ -e "$file" ] && read -r name <"$file"
      port=${file%/name}
      port=/dev/${port##*/}
      [ "$name" = "$1" ] && return
    done
    busybox usleep 20000
  done
}

open_ports() {
  find_port control && exec 3<>"$port"
  find_port stdout && exec 4>"$port"
  find_port stderr && exec 5>"$port"
  find_port log && exec 6>"$port"
}

# The job sees pipes, as it would outside; busybox cat hands on what it reads at once.
start_relays() {
  mkfifo /run/vm/out /run/vm/err
  busybox cat /run/vm/out >&4 3>&- 4>&- 5>&- 6>&- &
  relay_out=$!
  busybox cat /run/vm/err >&5 3>&- 4>&- 5>&- 6>&- &
  relay_err=$!
}

# A process that the job left behind may hold the pipes open: what is written after the job's end is not waited for.
stop_relays() {
  { sleep 2; kill $relay_out $relay_err; } 2>/dev/null &
  wait $relay_out $relay_err
}

# The host shows what the console has from here on (scripts/vm.ts).
report_mark="vm: the kernel log since the job began"

# obey JOB: signals for the job, and the request for a report when the time limit has struck.
obey() {
  while read -r word signal <&3; do
    case $word in
    signal) kill -s "$signal" -- "-$1" 2>/dev/null ;;
    report)
      echo w >/proc/sysrq-trigger
      echo "$report_mark" >/dev/console
      dmesg --color=never | tail -n "+$((log_lines + 1))" >/dev/console
      echo reported >&3
      ;;
    esac
  done
}

run_job() {
  echo ready >&3
  read -r kind token script <&3
  echo "$script" | busybox base64 -d >/run/vm/job
  log_lines=$(dmesg | wc -l)
  if [ "$kind" = shell ]; then
    setsid --ctty --wait sh /run/vm/job </dev/hvc0 >/dev/hvc0 2>&1 3>&- 4>&- 5>&- 6>&-
    code=$?
  else
    start_relays
    env --default-signal=INT,QUIT setsid sh /run/vm/job </dev/null >/run/vm/out 2>/run/vm/err 3>&- 4>&- 5>&- 6>&- &
    job=$!
    obey $job 4>&- 5>&- 6>&- &
    wait $job
    code=$?
    stop_relays
  fi
  sync
  dmesg >&6
  printf '\0%s' "$token" >&4
  printf '\0%s' "$token" >&5
  printf '\0%s' "$token" >&6
  echo "exit $code" >&3
}

if [ "${1:-}" != mounted ]; then
  stage_root "$0"
fi
mount_rest
open_ports
run_job
while :; do sleep 3600; done
