#!/usr/bin/env bash
# Run a command, and again as long as its exit status asks for that.
#
#   experiments/launch/restart.sh COMMAND ...
#
# 75 (EX_TEMPFAIL): another process was lost. 137: this one was killed, by the kernel
# for its memory perhaps. Both go on from the last checkpoint, at most $RESTARTS times
# (10). Any other status is final: 0 is done, 2 and 3 would only happen again, and after
# 130 or 143 somebody wanted the run to stop.
set -uo pipefail

restarts=${RESTARTS:-10}
child=
stopping=
interrupted=

forward() {
  stopping=yes interrupted=yes
  kill -s "$1" "$child" 2>/dev/null
}
trap 'forward TERM' TERM
trap 'forward INT' INT

for ((run = 0; ; run++)); do
  [[ $stopping ]] && exit 143
  "$@" &
  child=$!
  wait "$child"
  status=$?
  # A signal ends `wait` at once, while the command still saves.
  while [[ $interrupted ]]; do
    interrupted=
    wait "$child"
    status=$?
  done
  if [[ $stopping ]] || ((status != 75 && status != 137)) || ((run >= restarts)); then
    exit "$status"
  fi
  echo "exit status $status: start $((run + 2)) of $((restarts + 1)) follows" >&2
done
