#!/bin/sh
# Real faults on two real GPUs over NCCL: tests/gpu/two_gpu_faults.sh [FOLDER] [--cases stop,kill,deepspeed,hang]
#
# A 0.5B shape with random weights, LoRA with dropout, 60 updates of 8 rows on two GPUs (with four or more GPUs the cases
# spread over pairs). Expected:
#   stop       SIGINT to `lfwrap train`: both ranks save at the same update, state interrupted, exit 130; the resumed run
#              has the losses of an uninterrupted one.
#   kill       SIGKILL of rank 1 under torchrun: diagnosis lost-rank, exit 7; the resumed run has the same losses, also
#              of the updates that were done twice.
#   deepspeed  the same under DeepSpeed's launcher with ZeRO-2.
#   hang       SIGSTOP of rank 1: the stall is found, the other rank's Python stack is in the record, all is ended.
# After each: no process of the run in /proc; after all of them: the GPUs' memory is free again.
# Losses agree within 0.01, or three times what two uninterrupted runs differ by where that is more, 0.05 at most.
# Prints one JSON object and exits 0 when all of that holds. The cases of each of two rounds run at the same time:
# some two minutes and a half on two H200s, of which DeepSpeed's launcher takes up to one to end a lost rank's others.
# Without GPUs: tests/gpu/two_gpu_faults.sh FOLDER --cpu (a tiny model over gloo, one case after the other, five minutes
# on two cores).
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
unset MODEL_PATH
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
[ $# -gt 0 ] || set -- /tmp/two-gpu-faults
exec "${PYTHON:-python3}" "$here/tests/gpu/two_gpu_faults.py" "$@"
