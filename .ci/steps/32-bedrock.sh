# The Bedrock emulator, read by boto3, and its service model against the botocore that is installed.
# limit: 900 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

export CAUSEWAY_PYTHON CAUSEWAY_REQUIRE_LIVE=1
time cargo test --locked -p causeway-tests --test bedrock_emulator
