# The link protocol over a simulated network, with many more seeds than `cargo test` runs.
# limit: 1200 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

export CAUSEWAY_SIM_SEEDS=$SIMULATION_SEEDS
# As fast as a release and as strict as a debug build. Only this crate is built anew for it: its
# dependencies are those of every release build, which stays as it is beside them.
strict=profile.release.package.causeway-wire
time cargo test --release --locked -p causeway-wire \
  --config "$strict.overflow-checks=true" --config "$strict.debug-assertions=true"
