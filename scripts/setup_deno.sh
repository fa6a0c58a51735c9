# Deno, esbuild and the npm packages of deno.json, all in the cache. Sourced by scripts/setup.

# npm and Deno shall trust the certificates that this machine trusts, also where a proxy of its own signs them.
deno_certificates=/etc/ssl/certs/ca-certificates.crt
if [ -e "$deno_certificates" ]; then
  export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$deno_certificates}"
  export DENO_TLS_CA_STORE="${DENO_TLS_CA_STORE:-mozilla,system}"
fi

# deno_new_enough DENO: is it 2.9 or later?
deno_new_enough() {
  deno_found=$("$1" --version 2>/dev/null | sed -n '1s/^deno \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ -n "$deno_found" ] || return 1
  set -- $deno_found
  [ "$1" -gt 2 ] || { [ "$1" -eq 2 ] && [ "$2" -ge 9 ]; }
}

deno_platform() {
  case $(uname -m) in
  x86_64) echo x64 ;;
  aarch64) echo arm64 ;;
  *) fail "Deno is not available for $(uname -m); x86_64 and aarch64 are" ;;
  esac
}

# deno_fetch PACKAGE@VERSION...: platform packages from npm, straight into the cache.
deno_fetch() {
  packages_install $(packages_lack npm nodejs npm)
  say "fetching $* from npm"
  npm install --prefix "$cache/npm" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error \
    "$@" >&2 || fail "cannot fetch $* from npm; check the machine's npm registry setting"
}

deno_install() {
  deno_arch=$(deno_platform)
  deno_own=$cache/npm/node_modules/@deno/linux-$deno_arch-glibc/deno
  esbuild_own=$cache/npm/node_modules/@esbuild/linux-$deno_arch/bin/esbuild
  deno_stamp=$cache/stamps/deno-$deno_version-esbuild-$esbuild_version

  if ! [ -e "$deno_stamp" ] || ! [ -x "$cache/bin/deno" ] || ! [ -x "$cache/bin/esbuild" ]; then
    deno_path=$(command -v deno || true)
    if [ -n "$deno_path" ] && deno_new_enough "$deno_path"; then
      deno_own=$("$deno_path" eval 'console.log(Deno.execPath())')
      deno_fetch "@esbuild/linux-$deno_arch@$esbuild_version"
    else
      deno_fetch "@deno/linux-$deno_arch-glibc@$deno_version" "@esbuild/linux-$deno_arch@$esbuild_version"
    fi
    chmod +x "$esbuild_own" "$deno_own"
    ln -sfn "$deno_own" "$cache/bin/deno"
    ln -sfn "$esbuild_own" "$cache/bin/esbuild"
    "$cache/bin/deno" --version >/dev/null || fail "$deno_own does not run on this machine"
    "$cache/bin/esbuild" --version >/dev/null || fail "$esbuild_own does not run on this machine"
    touch "$deno_stamp"
  fi
  deno_warm
}

# The npm packages of deno.json, into DENO_DIR. The stamp is the content of deno.json's imports and of deno.lock.
deno_warm() {
  warm_key=$(cat "$repo/deno.json" "$repo/deno.lock" 2>/dev/null | sha256sum | cut -c1-32)
  warm_stamp=$cache/stamps/npm-$warm_key
  [ -e "$warm_stamp" ] && [ -d "$cache/deno-dir/npm" ] && return
  say "fetching the npm packages of deno.json"
  (cd "$repo" && DENO_DIR=$cache/deno-dir DENO_NO_UPDATE_CHECK=1 "$cache/bin/deno" install --quiet >&2) ||
    fail "cannot fetch the npm packages of deno.json; check the machine's npm registry setting"
  touch "$warm_stamp"
}
