#!/usr/bin/env bash
# Starts a training with settings from the environment; works from any folder:
#   BATCH_SIZE=80 NUM_GPUS=2 MAX_EPOCHS=1000 bash tools/runpod/train_local.sh
# Also PRECISION, NUM_WORKERS, ACCUM (batches of an update), CHECKPOINT and DATA_DIR. What is
# unset or empty is the launcher's default; arguments are passed on to the launcher.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python3

flags=()
add() { # FLAG VALUE
    if [ -n "$2" ]; then flags+=("$1" "$2"); fi
}
add --batch-size "${BATCH_SIZE:-}"
add --num-gpus "${NUM_GPUS:-}"
add --max-epochs "${MAX_EPOCHS:-}"
add --precision "${PRECISION:-}"
add --num-workers "${NUM_WORKERS:-}"
add --accumulate-grad-batches "${ACCUM:-}"
add --checkpoint "${CHECKPOINT:-}"
add --dataset "${DATA_DIR:-}"

# An empty array counts as unset in bash before 4.4 (macOS has 3.2).
exec "$python" "$root/tools/runpod/start_training.py" ${flags[@]+"${flags[@]}"} "$@"
