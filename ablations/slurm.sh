#!/usr/bin/env bash
# Runs an ablation as a Slurm job array: a part of the runs per task, and the tables when all tasks have ended.
#
#   ablations/slurm.sh GRID.toml OUT [TASKS] [OPTION...]
#
# Further options go to `kernelscope ablate`, for example --base train.epochs=40. OUT must be on a file system that all
# nodes share. Submitting the same line again goes on where tasks were stopped; finished runs are skipped.
# KERNELSCOPE names the command if it is not in PATH; SBATCH_PARTITION, SBATCH_ACCOUNT and the like choose the queue.
#SBATCH --job-name=ablate
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --signal=B:INT@120
set -euo pipefail

grid=${1:-} out=${2:-} tasks=${3:-8}
if [[ -z $grid || -z $out || ! $tasks =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 GRID.toml OUT [TASKS] [OPTION...]" >&2
    exit 2
fi
shift $(($# < 3 ? 2 : 3))
kernelscope=${KERNELSCOPE:-kernelscope}

case ${ABLATE_STEP:-submit} in
submit)
    # On the login node: refuse a grid that cannot run, then submit the array and, after it, the tables.
    "$kernelscope" ablate "$grid" --out "$out" --list "$@" > /dev/null
    array=$(sbatch --parsable --array="1-$tasks" --export=ALL,ABLATE_STEP=train "$0" "$grid" "$out" "$tasks" "$@")
    sbatch --dependency="afterany:${array%%;*}" --job-name=ablate-table --cpus-per-task=1 \
        --export=ALL,ABLATE_STEP=table "$0" "$grid" "$out" "$tasks" "$@"
    ;;
train)
    # One task of the array, with the threads that Slurm gives it. The signal before the end of its time reaches the
    # command because of exec: it stops after the current step, and what was saved stays resumable.
    export RAYON_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
    exec "$kernelscope" ablate "$grid" --out "$out" --shard "$SLURM_ARRAY_TASK_ID/$tasks" "$@"
    ;;
table)
    exec "$kernelscope" ablate "$grid" --out "$out" --table-only "$@"
    ;;
esac
