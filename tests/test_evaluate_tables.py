"""Summaries and tables: what is averaged with what, what is counted, and how it is written."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from apical.anatomy import Phase, Structure, View
from apical.errors import InputError
from apical.evaluate import FrameScore, StructureScore, compare_models, read_frames, summarise, to_markdown
from apical.evaluate.agreement import Agreement
from apical.evaluate.summary import find
from apical.evaluate.tables import accuracy_rows, agreement_rows, comparison_rows, frame_rows, geometry_rows
from apical.evaluate.volumes import VolumeAgreement, VolumePair, volume_agreements
from apical.files import csv_text


def score(
    patient: str = "p0",
    view: View | None = View.A4C,
    phase: Phase | None = Phase.ED,
    *,
    dice: float = 0.9,
    hd: float | None = 2.0,
    unit: str = "mm",
    missing: bool = False,
    accuracy: float = 0.98,
    n_pixels: int = 100,
) -> FrameScore:
    if missing:
        dice, hd, accuracy = 0.0, None, 0.0
    structures = tuple(StructureScore(s, dice, hd, hd, hd, unit) for s in Structure)
    name = f"{patient}_{view}_{phase}"
    return FrameScore(patient, name, view, phase, "Good", missing, n_pixels, accuracy, accuracy, structures)


def test_mean_median_and_sd():
    table = summarise([score(f"p{i}", dice=d) for i, d in enumerate((0.6, 0.9, 0.9))])
    endo = find(table, "endo", "dice")
    assert (endo.mean, endo.median, endo.sd) == pytest.approx((0.8, 0.9, math.sqrt(0.03)))
    assert (endo.n, endo.n_patients, endo.unit) == (3, 3, "")
    assert endo.interval[0] < 0.8 < endo.interval[1]


def test_groups_by_view_and_phase():
    frames = [
        score(view=View.A2C, phase=Phase.ED, dice=0.1),
        score(view=View.A2C, phase=Phase.ES, dice=0.2),
        score(view=View.A4C, phase=Phase.ED, dice=0.4),
        score(view=None, phase=None, dice=0.5),
    ]
    table = summarise(frames)
    means = {(s.view, s.phase): s.mean for s in table if (s.structure, s.metric) == ("la", "dice")}
    assert means == pytest.approx(
        {
            ("2CH", "ED"): 0.1,
            ("2CH", "ES"): 0.2,
            ("2CH", "all"): 0.15,
            ("4CH", "ED"): 0.4,
            ("4CH", "all"): 0.4,
            ("all", "ED"): 0.25,
            ("all", "ES"): 0.2,
            ("all", "all"): 0.3,
        }
    )


def test_missing_prediction_counts_as_zero():
    table = summarise([score("p0", dice=1.0), score("p1", dice=1.0), score("p2", missing=True)])
    dice, hd = find(table, "myo", "dice"), find(table, "myo", "hd")
    assert (dice.mean, dice.n, dice.n_missing, dice.n_absent) == (pytest.approx(2 / 3), 3, 1, 0)
    assert (hd.mean, hd.n, hd.n_missing, hd.n_absent) == (2.0, 2, 1, 1)
    assert find(table, "foreground", "dice").mean == pytest.approx(2 / 3)
    assert find(table, "image", "accuracy").mean == pytest.approx(0.98 * 2 / 3)


def test_nothing_but_missing_has_dice_zero_and_no_distance():
    table = summarise([score(missing=True)])
    assert find(table, "endo", "dice").mean == 0
    hd = find(table, "endo", "hd")
    assert (hd.n, hd.mean, hd.median, hd.sd, hd.interval) == (0, None, None, None, None)


def test_millimetres_and_pixels_are_never_averaged():
    table = summarise([score("p0", hd=2.0), score("p1", hd=10.0, unit="pixel")])
    hds = {
        s.unit: (s.mean, s.n) for s in table if (s.structure, s.metric, s.view, s.phase) == ("endo", "hd", "all", "all")
    }
    assert hds == {"mm": (2.0, 1), "pixel": (10.0, 1)}
    rows = [r for r in geometry_rows(table, "all") if r["phase"] == "all" and r["structure"].startswith("LV endo")]
    assert [(r["HD"], r["unit"]) for r in rows] == [("2.00", "mm"), ("10.00", "pixel")]


def test_accuracy_is_pooled_over_pixels():
    table = summarise([score("p0", accuracy=1.0, n_pixels=300), score("p1", accuracy=0.8, n_pixels=100)])
    assert find(table, "image", "accuracy").mean == pytest.approx(0.95)
    assert accuracy_rows(table)[0]["four classes"].startswith("0.9500 (")


def test_geometry_table_is_phase_by_structure():
    table = summarise([score(phase=phase, patient=p, hd=h) for phase in Phase for p, h in (("a", 1.0), ("b", 3.0))])
    rows = geometry_rows(table, "4CH")
    assert [r["phase"] for r in rows] == ["ED"] * 5 + ["ES"] * 5 + ["all"] * 5
    assert rows[0]["structure"] == "LV endocardium (1)"
    assert rows[0]["HD"] == "2.00 ± 1.41"
    assert rows[0]["Dice"] == "0.900 (0.900 to 0.900)"
    assert rows[4]["structure"].startswith("mean foreground")
    assert rows[4]["HD"] == "–"
    assert geometry_rows(table, "2CH") == []


def test_frames_survive_a_csv(tmp_path: Path):
    frames = [score(), score("p1", View.A2C, Phase.ES, missing=True), score("p2", None, None, hd=None, unit="pixel")]
    path = tmp_path / "frames.csv"
    path.write_text(csv_text(frame_rows(frames)))
    assert read_frames(path) == frames


@pytest.mark.parametrize("change", [("p0,", "p0"), (",endo,", ",ring,"), (",0.9,", ",much,"), ("la", "endo")])
def test_damaged_frames_csv_is_refused(tmp_path: Path, change: tuple[str, str]):
    path = tmp_path / "frames.csv"
    path.write_text(csv_text(frame_rows([score()])).replace(*change))
    with pytest.raises(InputError, match=r"frames\.csv: not a frames\.csv"):
        read_frames(path)


def test_absent_frames_csv_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"nothing\.csv"):
        read_frames(tmp_path / "nothing.csv")


def test_csv_quotes_and_leaves_absent_cells_empty():
    text = csv_text([{"a": 'x, "y"', "b": None}])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['x, "y"', ""]]
    assert csv_text([]) == ""


def test_markdown_escapes_and_shows_a_dash():
    assert to_markdown([{"a": "x|y", "b": None}]) == "| a | b |\n|---|---|\n| x\\|y | – |"
    assert to_markdown([]) == ""


def pair(patient: str, ef: float | None, reference: float | None, **changes: str) -> VolumePair:
    def numbers(value: float | None) -> dict[str, float | None]:
        return {"edv_ml": None, "esv_ml": None, "ef_percent": value}

    result = VolumePair(patient, "ase", numbers(ef), numbers(reference), "biplane", "biplane", "measured", "measured")
    return replace(result, **changes)


def test_agreement_by_status_and_by_method():
    pairs = [
        pair("a", 50, 52),
        pair("b", 60, 60, predicted_method="single plane"),
        pair("c", 40, 50, predicted_status="caution"),
        pair("d", None, 50, predicted_status="refused"),
    ]
    found = {a.group: a.agreement for a in volume_agreements(pairs) if a.quantity == "ef_percent"}
    assert {group: (a.n, a.n_missing, a.mae) for group, a in found.items()} == {
        "all": (3, 1, 4.0),
        "same method": (2, 1, 6.0),
        "measured": (2, 0, 1.0),
        "caution": (1, 0, 10.0),
        "refused": (0, 1, None),
    }
    edv = next(a.agreement for a in volume_agreements(pairs) if a.quantity == "edv_ml")
    assert (edv.n, edv.n_unreferenced) == (0, 4)


def test_definitions_are_kept_apart():
    pairs = [pair("a", 50, 52), pair("a", 40, 49, definition="camus")]
    found = {
        a.definition: a.agreement.bias
        for a in volume_agreements(pairs)
        if a.quantity == "ef_percent" and a.group == "all"
    }
    assert found == {"ase": -2.0, "camus": -9.0}


def test_agreement_and_comparison_rows_for_people():
    entry = VolumeAgreement("camus", "ef_percent", "%", "all", Agreement(0, 3, 0))
    row = agreement_rows([entry])[0]
    assert (row["quantity"], row["n"], row["missing"], row["bias"], row["limits of agreement"]) == (
        "EF (%)",
        0,
        3,
        "–",
        "–",
    )
    comparison = comparison_rows(compare_models([score(dice=0.9)], [score(dice=0.8)]))[0]
    assert (comparison["first"], comparison["second"], comparison["first - second"]) == ("0.9000", "0.8000", "0.1000")
