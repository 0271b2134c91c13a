# README's two commands on the poorest machine that should still do: an unprivileged user, no
# network but 127.0.0.1, nothing beside Rust and a C compiler, the usual ports taken.
# limit: 3000 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

[[ $(id -u) == 0 ]] || skip "making a network namespace needs root"
need_tools "go the hard way" unshare setpriv ip python3 rustup

work=$(mktemp -d "${TMPDIR:-/var/tmp}/causeway-hard-way.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work"/{checkout,home/.cargo/registry,path,rustup,tmp}

# The checkout as it is, uncommitted changes too, without build output.
cd "$ROOT"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
  tar --create --null --files-from=- | tar --extract --directory="$work/checkout"

# Of cargo's home only the downloads: cargo unpacks them again, as that user.
cargo fetch --quiet --locked
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cp -r "$cargo_home"/registry/{index,cache} "$work/home/.cargo/registry/"

# PATH: what these packages bring and rustup's cargo; so no cmake, clang, pkg-config, perl, python.
base=(bash coreutils dash diffutils findutils grep gzip hostname libc-bin mawk procps sed tar util-linux)
compiler=(gcc gcc-12 binutils binutils-x86-64-linux-gnu)
dpkg-query -L "${base[@]}" "${compiler[@]}" curl 2>/dev/null |
  sed -nE 's|^(/usr)?(/s?bin/[^/]+)$|/usr\2|p' | sort -u |
  while read -r program; do [[ ! -x $program ]] || ln -s "$program" "$work/path/"; done
ln -sf /usr/bin/gcc "$work/path/cc"
ln -sf /usr/bin/mawk "$work/path/awk"
cp "$(command -v rustup)" "$work/path/rustup"
for proxy in cargo rustc rustdoc; do ln -s rustup "$work/path/$proxy"; done

user=$(id -u nobody)
group=$(id -g nobody)
chown -R "$user:$group" "$work"

# The process namespace ends with its first process, and everything started inside with it.
unshare --net --mount --pid --fork --kill-child --mount-proc \
  bash "$ROOT/.ci/hard-way/as-root.sh" "$work" "${RUSTUP_HOME:-$HOME/.rustup}" "$user" "$group"
