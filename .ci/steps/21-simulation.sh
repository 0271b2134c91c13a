# The link protocol over a simulated network, with many more seeds than `cargo test` runs.
# limit: 1200 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

export CAUSEWAY_SIM_SEEDS=$SIMULATION_SEEDS
time cargo test --release --locked -p causeway-wire
