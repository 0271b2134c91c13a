# A real Ollama (CPU only), compiled once from its Go module and kept in the cache.
# limit: 1800 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

if [[ -x $OLLAMA_BIN ]]; then
  echo "cached"
  exit 0
fi
need_tools "build Ollama" go g++

folder=$CACHE/ollama-$OLLAMA_VERSION
malgo=$(retry go mod download -json "github.com/gen2brain/malgo@$MALGO_VERSION" |
  sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
install -D -m 644 "$malgo/miniaudio.h" "$folder/include/miniaudio/miniaudio.h"

# Go's default is baseline x86-64; with AVX2 inference takes 0.4 of the time.
machine=
if [[ $(uname -m) == x86_64 ]] && grep -qw avx2 /proc/cpuinfo; then
  machine=-march=x86-64-v3
fi
export CGO_CFLAGS="-O2 -g0 $machine" CGO_CXXFLAGS="-O2 -g0 $machine"
# CPATH is one include path for C and C++, behind the ones the sources name themselves.
export CPATH="$folder/include" GOBIN="$folder/partial" GOFLAGS=-trimpath
retry go install \
  -ldflags "-s -w -X=github.com/ollama/ollama/version.Version=${OLLAMA_VERSION#v}" \
  "github.com/ollama/ollama@$OLLAMA_VERSION"
mv "$folder/partial" "$folder/bin"
"$OLLAMA_BIN" --version 2>&1 | tail -n 1
