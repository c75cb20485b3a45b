#!/usr/bin/env bash
# Train over several processes on the CPU of this machine.
#
#   experiments/launch/local.sh PROCESSES PRESET --run-dir DIR [--field value ...]
#
# For trying out what a cluster does: stopping, losing a process, going on. All
# processes start again where one was lost; $RESTARTS bounds that, $PYTHON names the
# interpreter.
set -uo pipefail

if (($# < 2)) || [[ " $* " != *" --run-dir"[\ =]* ]]; then
  echo "usage: $0 PROCESSES PRESET --run-dir DIR [--field value ...]" >&2
  exit 2
fi
processes=$1
shift
python=${PYTHON:-python}
restarts=${RESTARTS:-10}
export JAX_PLATFORMS=cpu

pids=()
stopping=
interrupted=
forward() {
  stopping=yes interrupted=yes
  ((${#pids[@]} == 0)) || kill -s TERM "${pids[@]}" 2>/dev/null
}
trap forward TERM INT

free_port() {
  "$python" -c '
import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])
'
}

# Start all processes, wait for all, and return the status that says most: a lost
# process (75 in those that are left) is worth another start, a complaint is not.
once() {
  local port id pid status worst=0
  port=$(free_port)
  pids=()
  for ((id = 0; id < processes; id++)); do
    "$python" -m experiments.lars train "$@" --resume-if-any \
      --coordinator "127.0.0.1:$port" --num-processes "$processes" \
      --process-id "$id" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid"
    status=$?
    # A signal ends `wait` at once, while the process still saves.
    while [[ $interrupted ]]; do
      interrupted=
      wait "$pid"
      status=$?
    done
    if ((status == 75)) || ((status != 0 && worst != 75)); then
      worst=$status
    fi
  done
  return "$worst"
}

for ((run = 0; ; run++)); do
  once "$@"
  status=$?
  if [[ $stopping ]] || ((status != 75)) || ((run >= restarts)); then
    exit "$status"
  fi
  echo "a process was lost: start $((run + 2)) of $((restarts + 1)) follows" >&2
done
