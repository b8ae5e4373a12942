#!/bin/sh
# The whole chain on CAMUS: one store, three models on the same split, their figures on the same 50 unseen
# patients, the table in docs/. About 100 minutes on two cores; interrupted, it goes on where it was.
#   CAMUS=../shared/camus BIN=.venv/bin sh benchmarks/camus.sh
set -eu
CAMUS=${CAMUS:-../shared/camus}
APICAL=${BIN:-.venv/bin}/apical
mkdir -p runs
[ -f runs/camus.h5 ] || "$APICAL" prepare "$CAMUS/png" -o runs/camus.h5
train() { "$APICAL" train runs/camus.h5 -o "runs/$1" --view "$2" --max-minutes "$3" --epochs 200 --patience 200 --resume; }
train both both 65
train 2ch 2CH 17
train 4ch 4CH 17
for name in both 2ch 4ch; do
    "$APICAL" export "runs/$name" -o "runs/model-$name" --name "apical-unet-$name" --overwrite
    "$APICAL" evaluate "runs/model-$name" runs/camus.h5 -o "runs/evaluation-$name" --overwrite
done
"$APICAL" compare runs/evaluation-both runs/evaluation-2ch runs/evaluation-4ch -o docs/models.md --overwrite
