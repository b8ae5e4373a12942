#!/bin/sh
# The whole chain on CAMUS: two stores of the same patients, four models on the same split, their figures on the same
# 50 unseen patients, the table in docs/; then the joint one goes on with all patients, by the same recipe, to be
# released. About 5 hours on two cores; interrupted, it goes on where it was.
#   CAMUS=../shared/camus BIN=.venv/bin sh benchmarks/camus.sh
set -eu
CAMUS=${CAMUS:-../shared/camus}
APICAL=${BIN:-.venv/bin}/apical
mkdir -p runs
[ -f runs/camus.h5 ] || "$APICAL" prepare "$CAMUS/png" -o runs/camus.h5
[ -f runs/nifti.h5 ] || "$APICAL" prepare "$CAMUS/nifti" -o runs/nifti.h5
train() { # name, view, minutes, further stores or options
    name=$1 view=$2 minutes=$3
    shift 3
    "$APICAL" train runs/camus.h5 -o "runs/$name" --view "$view" --max-minutes "$minutes" \
        --epochs 500 --patience 500 --resume "$@"
    "$APICAL" export "runs/$name" -o "runs/model-$name" --name "apical-unet-$name" --overwrite
    "$APICAL" evaluate "runs/model-$name" runs/camus.h5 -o "runs/evaluation-$name" --overwrite
    # Again, with figures and intervals: the network is the same, and so is its hash.
    "$APICAL" export "runs/$name" -o "runs/model-$name" --name "apical-unet-$name" \
        --evaluation "runs/evaluation-$name" --overwrite
}
train both both 150 runs/nifti.h5
# From the PNG frames alone, as its peers (benchmarks/peers.sh).
train small both 12 --channels 16,32,64,96,128
train 2ch 2CH 17
train 4ch 4CH 17
"$APICAL" compare runs/evaluation-both runs/evaluation-small runs/evaluation-2ch runs/evaluation-4ch \
    -o docs/models.md --overwrite
"$APICAL" train runs/camus.h5 runs/nifti.h5 -o runs/all --start runs/both --test 0 --validation 0 \
    --max-minutes 28 --epochs 500 --patience 500 --learning-rate 0.001 --resume
"$APICAL" export runs/all -o runs/model-all --name apical-unet --evaluation runs/evaluation-both \
    --before runs/both --overwrite
