# The two commands, as the unprivileged user, in the checkout.
set -euo pipefail

fail() {
  echo "hard way: $*" >&2
  exit 1
}

ulimit -n 1024
for tool in cmake clang pkg-config; do
  ! command -v "$tool" >/dev/null || fail "$tool is on PATH"
done
[[ $(id -u) != 0 ]] || fail "still root"

quickstart() { cargo --offline quickstart "$@"; }
field() { sed -nE 's/.*"'"$1"'" *: *"?([^",}]*).*/\1/p' "$ready_file"; }

log=$TMPDIR/quickstart.log
ready_file=$TMPDIR/ready.json

# refused FLAG ARGUMENT…: quickstart ends by itself, unsuccessfully, and names the flag to use.
refused() {
  local flag=$1 code=0
  shift
  timeout 60 cargo --offline quickstart "$@" >"$log" 2>&1 </dev/null || code=$?
  case $code in
    0) cat "$log"; fail "succeeded although a port is taken" ;;
    124) cat "$log"; fail "hung although a port is taken" ;;
  esac
  grep -qE -- "(^|[^a-z-])$flag([^a-z-]|$)" "$log" || { cat "$log"; fail "the message does not name $flag"; }
  grep -F -- "$flag" "$log"
}

echo "-- build for quickstart, from nothing"
time cargo --offline build --release --locked -p causeway-quickstart

echo "-- the ports are taken"
refused --port
refused --status-port --port 0

echo "-- other ports"
quickstart --port 0 --status-port 0 --stand-in --ready-file "$ready_file" >"$log" 2>&1 </dev/null &
quickstart_job=$!
for _ in $(seq 300); do
  [[ ! -s $ready_file ]] || break
  kill -0 "$quickstart_job" 2>/dev/null || { cat "$log"; fail "quickstart ended early"; }
  sleep 0.1
done
[[ -s $ready_file ]] || { cat "$log"; fail "quickstart was not ready within 30 s"; }

url=$(field url) key=$(field api_key) state=$(field state_dir)
program=$(field pid) children=("$(field relay_pid)" "$(field daemon_pid)")
for process in "$program" "${children[@]}"; do
  kill -0 "$process" || fail "the ready file names a process that is not there"
done
ask() { curl --noproxy '*' --silent --show-error --fail --max-time 30 -H "Authorization: Bearer $key" "$@"; }
model=$(ask "$url/api/tags" | sed -E 's/.*"name":"([^"]*)".*/\1/')
question='"messages":[{"role":"user","content":"hello"}]'
ask "$url/api/chat" -d "{\"model\":\"$model\",$question}" >"$TMPDIR/answer"
grep -q '"done": *true' "$TMPDIR/answer" || { cat "$log" "$TMPDIR/answer"; fail "no whole answer"; }
ask "$url/v1/chat/completions" -d "{\"model\":\"$model\",$question}" | grep -q '"finish_reason"' ||
  { cat "$log"; fail "no OpenAI answer"; }
echo "an answer of $(wc -l <"$TMPDIR/answer") lines from $model"

# `cargo run` stands between; the program's own id is in the ready file.
kill -INT "$program"
for _ in $(seq 300); do
  kill -0 "$quickstart_job" 2>/dev/null || break
  sleep 0.1
done
! kill -0 "$quickstart_job" 2>/dev/null || { cat "$log"; fail "Ctrl-C did not end it within 30 s"; }
[[ ! -e $state ]] || fail "$state was left behind"
for child in "${children[@]}"; do
  ! kill -0 "$child" 2>/dev/null || { cat "$log"; fail "process $child was left behind"; }
done
echo "ended, nothing left behind"

echo "-- tests"
time cargo test --workspace --locked --offline
