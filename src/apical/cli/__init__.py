"""The `apical` command: one sub-command per step, heavy imports inside each."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from typing import Annotated

import typer

from apical import __version__
from apical.cli import analyse, clinic, crossval, data, demo, judge, learn
from apical.errors import ApicalError, ExitCode, InterruptedRunError

_COLLECT_AFTER = 50_000
"""Objects; Python's own 700 (2000 in later versions) are for programs that load little."""

app = typer.Typer(
    name="apical",
    help="Apical echocardiograms in; trustworthy masks, left-ventricular volumes and ejection fraction out. "
    "Research only, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (analyse, judge, clinic, demo, data, learn, crossval):
    for _command in _module.COMMANDS:
        app.command()(_command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"apical {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Libraries make objects by the hundred thousand that stay: to look through them ever again is a tenth of the start.
    gc.set_threshold(_COLLECT_AFTER)
    # Nor are they searched for garbage once more when all goes at the end, which takes half a second.
    atexit.register(gc.freeze)


def _interrupt(number: int, frame: object) -> None:
    # Our own error: the command-line library would turn KeyboardInterrupt into "Aborted" and exit code 1.
    raise InterruptedRunError("interrupted; what was finished is kept, run the same command to go on")


def main() -> None:
    """Run the command line; every error is one line and one documented exit code."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)
    try:
        app()
    except (ApicalError, InterruptedRunError) as error:
        code, line = error.exit_code, str(error)
    except Exception as error:
        if "APICAL_DEBUG" in os.environ:
            raise
        code, line = (
            ExitCode.BUG,
            f"unexpected {type(error).__name__}: {error} (a bug: report it with APICAL_DEBUG=1 set)",
        )
    typer.echo(f"apical: {line}", err=True)
    raise SystemExit(code)
