"""The `demo` command: the main job on a real clip and on a synthetic patient, with nothing to fetch."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apical.cli import analyse
from apical.cli.console import Overwrite, say
from apical.errors import InputError

if TYPE_CHECKING:
    from apical.phantom import Truth


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("demo"),
    overwrite: Overwrite = False,
) -> None:
    """Segment and measure a real apical clip and a synthetic two-view patient; say where the pictures lie."""
    from apical.files import atomic_write, make_folder, refuse_existing

    refuse_existing(output / "phantom" / "summary.json", overwrite=overwrite)  # the last of all
    make_folder(output)
    clip, phantom = output / "input" / "clip.dcm", output / "input"
    if not clip.exists() or overwrite:
        with atomic_write(clip, overwrite=overwrite) as temporary:
            shutil.copyfile(_real_clip(), temporary)
    say("A real apical four-chamber clip. Its calibration tags do not fit its pixels, so it gets no millilitres:")
    if overwrite or not (output / "clip" / "summary.json").exists():
        analyse.measure([clip], output / "clip", film=find_spec("av") is not None, overwrite=overwrite)
    say("A synthetic patient in CAMUS's own files, whose volumes are known:")
    truth = _write_phantom(phantom, overwrite)
    if overwrite or not (output / "masks" / "summary.json").exists():
        analyse.segment([phantom / "patient0001"], output / "masks", overwrite=overwrite)
    # By the model, not from these masks: only it knows how far its numbers may be off.
    analyse.measure([phantom / "patient0001"], output / "phantom", overwrite=overwrite)
    say(f"truth: EDV {truth.edv_ml:.1f} mL, ESV {truth.esv_ml:.1f} mL, EF {truth.ef_percent:.1f} %")
    say("\nLook at:")
    for path in sorted(
        p for p in output.rglob("*") if p.suffix in (".html", ".png", ".mp4") and "input" not in p.parts
    ):
        say(f"  {path}")


def _real_clip() -> Path:
    """Return the apical four-chamber clip that pydicom carries."""
    from pydicom.data import get_testdata_file

    found = get_testdata_file("examples_ybr_color.dcm", download=False)
    if found is None:
        raise InputError(
            "pydicom came without its example files: reinstall it with `pip install --force-reinstall pydicom`"
        )
    return Path(str(found))


def _write_phantom(folder: Path, overwrite: bool) -> Truth:
    from apical.phantom import make_patient, write_camus_nifti

    patient = make_patient(1)
    if overwrite or not (folder / "patient0001").exists():
        write_camus_nifti(folder, patient, overwrite=overwrite)
    return patient.truth


COMMANDS = (demo,)
