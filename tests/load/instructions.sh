#!/usr/bin/env bash
# Instructions of each hot path, by callgrind: repeatable whatever else the machine does.
# Usage: tests/load/instructions.sh            (needs valgrind; prints a markdown table)
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked --quiet -p causeway-tests --bin causeway-hot
binary=${CARGO_TARGET_DIR:-target}/release/causeway-hot

count() { # PATH N -> instructions of the whole run
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

low=1000 high=3000
printf '| path | instructions |\n|---|---|\n'
"$binary" 2>&1 | while read -r _ path _ what; do
    few=$(count "$path" $low)
    many=$(count "$path" $high)
    printf '| %s (`%s`) | %d |\n' "$what" "$path" $(((many - few) / (high - low)))
done
