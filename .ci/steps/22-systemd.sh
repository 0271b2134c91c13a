# The feature that packages turn on.
# limit: 600 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

cargo build --locked -p causewayd --features systemd
