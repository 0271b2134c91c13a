# Debian packages that later steps use, installed only where missing.
# limit: 900 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

packages=(
  curl iproute2 procps util-linux # the hard way
  haproxy valgrind                # the load tool
  libsystemd-dev pkg-config       # the feature `systemd`
  g++ libstb-dev nlohmann-json3-dev # Ollama from source
  shellcheck
)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "all there"
  exit 0
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
retry apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null
retry apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}" >/dev/null
