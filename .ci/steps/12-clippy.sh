# Lints, as errors, for every target of every member.
# limit: 1800 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

cargo clippy --workspace --all-targets --locked -- -D warnings
