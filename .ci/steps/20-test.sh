# README's second command, word for word.
# limit: 1800 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

time cargo test --workspace --locked
