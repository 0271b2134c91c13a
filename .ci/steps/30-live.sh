# The whole way with a real Ollama and a small model. Plain `cargo test` leaves these out where
# there is none; here that is a failure.
# limit: 1800 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

[[ -f $ROOT/tests/live/main.rs ]] || skip "the live tests are not there yet"
export OLLAMA_BIN CAUSEWAY_GGUF CAUSEWAY_REQUIRE_LIVE=1
time cargo test --release --locked -p causeway-tests --test live
