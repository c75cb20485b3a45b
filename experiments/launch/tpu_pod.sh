#!/usr/bin/env bash
# Train on every worker of a TPU VM slice.
#
#   TPU_NAME=NAME ZONE=ZONE experiments/launch/tpu_pod.sh PRESET --run-dir DIR ...
#
# $CHECKOUT is where this repository lies on every worker, with its environment in .venv
# (default: lars_jax under the home directory); DIR is on a file system that all workers
# share. JAX finds the workers from the metadata of the slice.
set -euo pipefail

: "${TPU_NAME:?name of the TPU VM slice}" "${ZONE:?zone that it is in}"
if [[ " $* " != *" --run-dir"[\ =]* ]]; then
  echo "usage: TPU_NAME=NAME ZONE=ZONE $0 PRESET --run-dir DIR ..." >&2
  exit 2
fi
checkout=${CHECKOUT:-lars_jax}

# The arguments go through a shell on each worker.
printf -v arguments '%q ' "$@"
train="python -m experiments.lars train $arguments --processes tpu --resume-if-any"
printf -v remote 'cd %q && . .venv/bin/activate && RESTARTS=%q exec %s %s' \
  "$checkout" "${RESTARTS:-10}" experiments/launch/restart.sh "$train"

exec gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all \
  --command="$remote"
