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
words=()
add() { # FLAG VARIABLE
    if [ -n "${!2:-}" ]; then
        flags+=("$1" "${!2}")
        words+=("$2=${!2}")
    fi
}
add --batch-size BATCH_SIZE
add --num-gpus NUM_GPUS
add --max-epochs MAX_EPOCHS
add --precision PRECISION
add --num-workers NUM_WORKERS
add --accumulate-grad-batches ACCUM
add --dataset DATA_DIR
add --checkpoint CHECKPOINT

# The command that goes on, for the trainer's last line: see COMMAND_VARIABLE of
# src/piper/train/resuming.py.
dashes=(--)
case " $* " in *" -- "*) dashes=() ;; esac
PIPER_RESUME_COMMAND="$(printf '%s\n' ${words[@]+"${words[@]}"} 'CHECKPOINT={checkpoint}' \
    bash "$0" "$@" ${dashes[@]+"${dashes[@]}"} '{flags}')"
export PIPER_RESUME_COMMAND

# An empty array counts as unset in bash before 4.4 (macOS has 3.2).
exec "$python" "$root/tools/runpod/start_training.py" ${flags[@]+"${flags[@]}"} "$@"
