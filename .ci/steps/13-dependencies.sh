# Licences, banned crates and sources; advisories where their database can be fetched.
# limit: 300 s
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

deny() { "$CACHE/bin/cargo-deny" --locked --all-features "$@"; }

deny check --hide-inclusion-graph bans licenses sources
if timeout 60 "$CACHE/bin/cargo-deny" fetch db >/dev/null 2>&1; then
  deny check --disable-fetch advisories
else
  echo "advisories: the database cannot be fetched from here; not checked"
fi
