# cargo-deny, compiled once and kept in the cache.
# limit: 1200 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

if [[ $("$CACHE/bin/cargo-deny" --version 2>/dev/null) == "cargo-deny $CARGO_DENY_VERSION" ]]; then
  echo "cached"
  exit 0
fi
# Optimised less than it ships: compiled in half the time, run for a second.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
retry cargo install --quiet --locked --root "$CACHE" --version "$CARGO_DENY_VERSION" cargo-deny
"$CACHE/bin/cargo-deny" --version
