# Unmodified clients against quickstart, in front of the stand-in and of the real Ollama.
# limit: 1200 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

[[ -f $ROOT/tests/interop/main.rs ]] || skip "the interop tests are not there yet"
export OLLAMA_BIN CAUSEWAY_GGUF CAUSEWAY_PYTHON CAUSEWAY_NODE_MODULES CAUSEWAY_REQUIRE_LIVE=1
time cargo test --release --locked -p causeway-tests --test interop
