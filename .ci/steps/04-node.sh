# The pinned Node clients of tests/interop.
# limit: 900 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

pins=$ROOT/tests/interop/package-lock.json
[[ -f $pins ]] || skip "tests/interop/package-lock.json is not there yet"

# Any Node that brings npm will do; Debian's are two packages.
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  retry apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null
  retry apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends nodejs npm >/dev/null
fi

folder=$CACHE/node
if [[ -d $CAUSEWAY_NODE_MODULES ]] && cmp -s "$pins" "$folder/installed.json"; then
  echo "cached"
  exit 0
fi
rm -rf "$folder"
mkdir -p "$folder"
cp "$pins" "$ROOT/tests/interop/package.json" "$ROOT/tests/interop/.npmrc" "$folder"
cd "$folder"
retry npm ci --silent --no-audit --no-fund --ignore-scripts
cp "$pins" installed.json
