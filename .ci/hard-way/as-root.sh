# Inside the new namespaces, still root: furnish them, then become the unprivileged user.
# Arguments: work folder, rustup's home, user id, group id.
set -euo pipefail
work=$1 rustup_home=$2 user=$3 group=$4

for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$file"; done
ip link set lo up
ip address flush dev lo
ip address add 127.0.0.1/32 dev lo

# Below root's home, which that user cannot enter; read-only, as a system-wide toolchain is.
mount --bind "$rustup_home" "$work/rustup"
mount -o remount,bind,ro "$work/rustup"

# The usual ports are taken by something that accepts and never says a word.
python3 "$(dirname "$0")/listeners.py" "$work/tmp/listening" 8080 9180 11434 &
for _ in $(seq 100); do
  [[ ! -e $work/tmp/listening ]] || break
  sleep 0.1
done
[[ -e $work/tmp/listening ]] || { echo "error: the listeners did not start" >&2; exit 1; }

cd "$work/checkout"
setpriv --reuid="$user" --regid="$group" --clear-groups --inh-caps=-all --no-new-privs \
  env -i \
  HOME="$work/home" \
  PATH="$work/path" \
  TMPDIR="$work/tmp" \
  LANG=C.UTF-8 \
  RUSTUP_HOME="$work/rustup" \
  CARGO_TARGET_DIR="$work/target" \
  CARGO_INCREMENTAL=0 \
  CARGO_TERM_COLOR=never \
  CARGO_TERM_PROGRESS_WHEN=never \
  RUST_BACKTRACE=1 \
  HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9 \
  http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 all_proxy=http://127.0.0.1:9 \
  SSL_CERT_FILE=/nonexistent/certificates.pem \
  bash .ci/hard-way/as-user.sh
