#!/bin/sh
# Peers on the store and split of a finished apical run, for the wall-clock time that it took: the CAMUS paper's
# U-Net 1 and nnU-Net v2 (2D), then one table. Twice that time in all, and about 10 minutes around it on two cores;
# interrupted, it goes on where it was. The peers get a virtual environment of their own below runs/.
#   RUN=runs/small STORE=runs/camus.h5 [MINUTES=65] [OUTPUT=docs/peers.md] sh benchmarks/peers.sh
set -eu
cd "$(dirname "$0")/.."
RUN=${RUN:-runs/small}
STORE=${STORE:-runs/camus.h5}
PEERS=${PEERS:-runs/peers/$(basename "$RUN")}
OUTPUT=${OUTPUT:-docs/peers.md}
VENV=runs/peers/venv
if [ ! -f "$VENV/ready" ]; then
    "${PYTHON:-python3}" -m venv "$VENV"
    # The package's own extra bounds torch as everywhere else.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[train]' 'nnunetv2>=2.8,<2.9'
    touch "$VENV/ready"
fi
export PYTHONPATH=benchmarks
PY=$VENV/bin/python
APICAL=$VENV/bin/apical
mkdir -p "$PEERS"

# Ours first: a run that cannot be compared is refused before hours are spent on peers.
"$PY" -m peers.record "$STORE" "$RUN" "$PEERS/test.txt"
score() { [ -f "$2/summary.json" ] || "$APICAL" evaluate "$1" "$STORE" -o "$2" --patients "$PEERS/test.txt"; }
name=apical-$(basename "$RUN")
[ -f "$PEERS/$name/MODEL_CARD.md" ] || "$APICAL" export "$RUN" -o "$PEERS/$name" --name "$name" --overwrite
score "$PEERS/$name" "$PEERS/$name/evaluation"

"$PY" -m peers.plain "$STORE" "$RUN" "$PEERS/unet1" ${MINUTES:+--minutes "$MINUTES"}
score "$PEERS/unet1/U-Net-1" "$PEERS/unet1/evaluation"

"$PY" -m peers.nnunet "$STORE" "$RUN" "$PEERS/nnunet" ${MINUTES:+--minutes "$MINUTES"}
score "$PEERS/nnunet/nnU-Net" "$PEERS/nnunet/evaluation"

"$PY" -m peers.table "$STORE" "$RUN" "$PEERS/$name/evaluation" "$PEERS/unet1" "$PEERS/nnunet" -o "$OUTPUT"
