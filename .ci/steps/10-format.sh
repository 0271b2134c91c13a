# Every Rust file as rustfmt writes it.
# limit: 120 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

cargo fmt --all --check
