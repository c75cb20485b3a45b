#!/usr/bin/env bash
# What one GPU can tell of this package, the most telling first, each part in six
# minutes: a record is in OUT as soon as it is made, a step that takes too long or fails
# leaves the others their time, and the exit status says whether one did.
#
#   benchmarks/gpu.sh [--part 1|2] [--rehearse] OUT
#
# Part 1 needs no data. Part 2 trains on CIFAR-10 from $TFDS_DATA_DIR. --rehearse goes
# through both on the CPU at sizes that mean nothing.
set -uo pipefail

parts="1 2" rehearse=
while [ $# -gt 1 ]; do
  case $1 in
    --part) parts=$2; shift 2 ;;
    --rehearse) rehearse=yes; shift ;;
    *) break ;;
  esac
done
if [ $# -ne 1 ] || [[ ! " 1 2 1 2 " == *" $parts "* ]] || [[ $1 == -* ]]; then
  echo "usage: benchmarks/gpu.sh [--part 1|2] [--rehearse] OUT" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 LARS_JAX_RECORDS=$out XLA_PYTHON_CLIENT_PREALLOCATE=false
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$out/compiled}
export JAX_PLATFORMS=$([ "$rehearse" ] && echo cpu || echo cuda,cpu)
failed=0

# step SECONDS NAME COMMAND...: its lines are shown and kept in OUT/NAME.txt.
step() {
  local seconds=$1 name=$2 began=$SECONDS status
  shift 2
  [ "$rehearse" ] && seconds=600
  echo "== $name"
  timeout --kill-after 5 "$seconds" "$@" 2>&1 | tee "$out/$name.txt"
  status=${PIPESTATUS[0]}
  echo "== $name: status $status after $((SECONDS - began)) of $seconds s"
  [ "$status" -eq 0 ] || failed=1
}

# sized REAL... -- TINY...: the words of a rehearsal stand behind the dashes.
sized() {
  local real=() tiny=() seen=
  for word in "$@"; do
    if [ "$word" = -- ]; then seen=yes
    elif [ "$seen" ]; then tiny+=("$word")
    else real+=("$word"); fi
  done
  words=("${real[@]}")
  [ "$rehearse" ] && words=("${tiny[@]}")
}

part_1() {
  step 20 versions "$python" -c "
import importlib.metadata as m, jax
print(jax.devices())
for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'torch'):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: print(name, 'is not installed')"
  sized tests/optim/test_lars.py tests/optim/test_precision.py tests/models/test_norm.py \
    tests/models/test_pool.py -- tests/optim/test_masks.py
  "$python" -c "import xdist" 2>&- && words+=(-n "$(((1 + $(nproc)) / 2))")
  # Products in TF32 would be another package's error.
  step 60 correctness env JAX_DEFAULT_MATMUL_PRECISION=highest \
    "$python" -m pytest -q -p no:cacheprovider -p no:benchmark "${words[@]}" \
    -k "not devices and not shard and not pmap"
  sized --networks resnet50 --compiles 1 --rounds 9 --steps 200 --inside 20 \
    --stream-megabytes 4096 -- --networks alexnet --compiles 1 --rounds 1 --steps 1 \
    --stream-megabytes 1 --no-torch --only lars
  step 90 optimizer_step "$python" -m benchmarks.optimizer.step "${words[@]}" --record
  sized --batches 256 512 -- --batches 2 --image-size 32 --rounds 1 \
    --round-seconds 0.1 --no-torch
  step 190 resnet50 "$python" -m benchmarks.throughput.resnet50 "${words[@]}" --record
}

part_2() {
  sized --seeds 5 -- --seeds 1 --epochs 2 --batch 32 --width 0.05 --train-examples 320 \
    --holdout 64 --optimizers nesterov --noise
  step 120 cifar10_94 "$python" -m benchmarks.lars.cifar10_94 "${words[@]}" --record
  sized --batch 512 --dtype bfloat16 -- --batch 8 --rounds 1 --round-seconds 0.1 \
    --no-torch
  step 50 cifar10 "$python" -m benchmarks.throughput.cifar10 "${words[@]}"
  sized cifar10_resnet20_128 --dtype bfloat16 --bn-span 128 --epochs 30 --seeds 2 \
    --optimizers lars nesterov sgd --batches 128 1024 8192 --trials 2 \
    --tuning-holdout 5000 --hours 0.025 \
    -- smoke --bn-span 32 --steps 2 --seeds 1 --optimizers lars --batches 32 64 \
    --trials 1
  step 140 grid "$python" -m experiments.lars compare "${words[@]}" --devices 1 \
    --run-dir "$out/grid"
  sized cifar10 --steps 6000 -- digits --steps 50 --eval-every 50 --checkpoint-every 50
  step 50 mgan "$python" -m experiments.mgan train "${words[@]}" \
    --run-dir "$out/mgan"
}

for part in $parts; do
  echo "=== part $part"
  "part_$part"
done
exit "$failed"
