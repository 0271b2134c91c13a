# Sourced by .ci/run and by every step: where tools live, pinned versions, small helpers.
# shellcheck shell=bash
# shellcheck disable=SC2034  # names are for the files that source this one

CARGO_DENY_VERSION=0.20.2
OLLAMA_VERSION=v0.24.0
# Only for its miniaudio.h: module archives drop the `vendor/` folder in which Ollama keeps it.
MALGO_VERSION=v0.11.24
SIMULATION_SEEDS=10000

# A step that cannot run ends with this code.
SKIPPED=77

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Tools that take long to build outlive the checkout.
CACHE=${CAUSEWAY_CI_CACHE:-$HOME/.cache/causeway-ci}
OLLAMA_BIN=$CACHE/ollama-$OLLAMA_VERSION/bin/ollama
CAUSEWAY_PYTHON=$CACHE/python/bin/python
CAUSEWAY_NODE_MODULES=$CACHE/node/node_modules
# A link that step 03-python points into the package that carries the model.
CAUSEWAY_GGUF=$CACHE/smollm2-135m.gguf

# One build of everything, never rebuilt: incremental files would only take room.
export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR=never
export CARGO_TERM_PROGRESS_WHEN=never

skip() {
  echo "skipped: $*"
  exit "$SKIPPED"
}

die() {
  echo "error: $*" >&2
  exit 1
}

# Registries now and then drop a connection; what fails three times is broken.
retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    echo "attempt $attempt failed: $*" >&2
    sleep $((attempt * 5))
  done
  return 1
}

# need_tools DOING TOOL…: fails the step with the name of the first missing tool.
need_tools() {
  local tool
  for tool in "${@:2}"; do
    command -v "$tool" >/dev/null || die "$tool is needed to $1"
  done
}
