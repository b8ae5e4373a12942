#!/bin/sh
# The pictures of README and docs/, made anew by the program itself; needs chromium for the pages.
#   BIN=.venv/bin sh benchmarks/pictures.sh
set -eu
BIN=${BIN:-.venv/bin}
work=$(mktemp -d)
"$BIN/apical" demo -o "$work"
# A patient whose ED and ES files were exchanged: the gate refuses.
mkdir -p "$work/swapped/patient0001"
for file in "$work"/input/patient0001/*.nii.gz; do
    name=$(basename "$file" | sed 's/_ED/_XX/; s/_ES/_ED/; s/_XX/_ES/')
    cp "$file" "$work/swapped/patient0001/$name"
done
"$BIN/apical" measure "$work/swapped/patient0001" -o "$work/refused"
page() {
    chromium --headless --no-sandbox --disable-gpu --user-data-dir="$work/browser" --hide-scrollbars \
        --window-size="1000,$3" --screenshot="$2" "file://$1" 2>/dev/null
}
mkdir -p docs/pictures
cp "$work/clip/clip/clip_curve.png" docs/pictures/clip.png
cp "$work/masks/patient0001/overlay.png" docs/pictures/overlay.png
page "$work/phantom/patient0001/report.html" docs/pictures/report_measured.png 1860
page "$work/clip/clip/report.html" docs/pictures/report_caution.png 1560
page "$work/refused/patient0001/report.html" docs/pictures/report_refused.png 1300
rm -rf "$work"
