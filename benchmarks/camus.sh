#!/bin/sh
# The whole chain on CAMUS: two stores of the same patients, five models on the same split, their figures on the same
# 50 unseen patients, the table in docs/; then what is released goes on with all patients, by the same recipe.
# About 7 hours on two cores; interrupted, it goes on where it was.
#   CAMUS=../shared/camus BIN=.venv/bin sh benchmarks/camus.sh
set -eu
CAMUS=${CAMUS:-../shared/camus}
APICAL=${BIN:-.venv/bin}/apical
NOTE="No weight was fitted and no epoch chosen on the unseen patients. But designs, the augmentation, three limits of the \
gate, and what apical-unet went on from, were settled with their figures in view: docs/experiments.md says which."
mkdir -p runs
[ -f runs/camus.h5 ] || "$APICAL" prepare "$CAMUS/png" -o runs/camus.h5
[ -f runs/nifti.h5 ] || "$APICAL" prepare "$CAMUS/nifti" -o runs/nifti.h5
train() { # name, view, minutes, further stores or options
    name=$1 view=$2 minutes=$3
    shift 3
    "$APICAL" train runs/camus.h5 -o "runs/$name" --view "$view" --max-minutes "$minutes" \
        --epochs 500 --patience 500 --resume "$@"
}
further() { # name, start, minutes, further options
    name=$1 start=$2 minutes=$3
    shift 3
    "$APICAL" train runs/camus.h5 runs/nifti.h5 -o "runs/$name" --start "runs/$start" --max-minutes "$minutes" \
        --epochs 500 --patience 500 --learning-rate 0.001 --resume "$@"
}
judge() { # run, name of the model
    "$APICAL" export "runs/$1" -o "runs/model-$1" --name "$2" --overwrite
    "$APICAL" evaluate "runs/model-$1" runs/camus.h5 -o "runs/evaluation-$1" --overwrite
    # Again, with figures and intervals: the network is the same, and so is its hash.
    "$APICAL" export "runs/$1" -o "runs/model-$1" --name "$2" --evaluation "runs/evaluation-$1" --note "$NOTE" --overwrite
}
train both both 150 runs/nifti.h5
# From the PNG frames alone, as its peers (benchmarks/peers.sh); then with both releases, which is the released small one.
train small both 12 --channels 16,32,64,96,128
judge small apical-unet-small-12-minutes
further small-further small 60 --channels 16,32,64,96,128 --learning-rate 0.002
judge small-further apical-unet-small
"$APICAL" compare runs/evaluation-small-further runs/evaluation-small -o docs/small.md --overwrite
train 2ch 2CH 17
judge 2ch apical-unet-2ch
train 4ch 4CH 17
judge 4ch apical-unet-4ch
# The released one: the joint network goes on with synthetic hearts, at a rate that stays high; then the mean of both.
[ -f runs/phantoms.h5 ] || "${BIN:-.venv/bin}/python" benchmarks/phantom_store.py -o runs/phantoms.h5 --n 400
steady() { # name, start, minutes, further options
    further "$@" --phantoms runs/phantoms.h5 --phantom-share 0.15 --final-rate 0.4 --average-decay 0.999 --keep last
}
average() { # name, runs
    [ -f "runs/$1/manifest.json" ] || "$APICAL" average runs/camus.h5 runs/nifti.h5 --run "runs/$2" --run "runs/$3" \
        --phantoms runs/phantoms.h5 -o "runs/$1"
}
steady split both 60
average mean both split
judge mean apical-unet-split
"$APICAL" compare runs/evaluation-mean runs/evaluation-small-further runs/evaluation-2ch runs/evaluation-4ch \
    -o docs/models.md --overwrite
# With all patients, by the same recipe.
steady all split 30 --test 0 --validation 0
average mean-all both all
"$APICAL" export runs/mean-all -o runs/model-all --name apical-unet --evaluation runs/evaluation-mean \
    --before runs/mean --note "$NOTE" --overwrite
