# The CI's own scripts.
# limit: 120 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

need_tools "check the scripts" shellcheck
mapfile -t scripts < <(find "$ROOT/.ci" -type f \( -name run -o -name '*.sh' \) | sort)
cd "$ROOT"
shellcheck --shell=bash --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
echo "${#scripts[@]} scripts"
