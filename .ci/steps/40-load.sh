# The load tool runs and every byte is right; its figures here are a look, not a judgement
# (docs/performance.md has the measured table).
# limit: 1200 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

grep -rqs causeway-load "$ROOT/tests/Cargo.toml" || skip "the load tool is not there yet"
load() { cargo run --release --locked -p causeway-tests --bin causeway-load -- "$@"; }
time load compare --quick
time load admission --quick
time load crowd --plain --answers 1
