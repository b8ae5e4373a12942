"""What every command shares: progress on standard error, JSON on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from apical.errors import ExitCode, InputError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist already.")]

console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Everything said to a person goes to standard error: standard output is for results."""

_UNCUT = 1000
"""Characters in a line of a table that no terminal shows."""


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Progress]:
    """Show a bar with one task; off where nobody is watching."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(what, total=total)
        yield bar


def say(line: str) -> None:
    """Tell a person something; square brackets are text, never markup."""
    console.print(line, markup=False)


@contextmanager
def _to_reader() -> Iterator[None]:
    """Print a result; that its reader goes away (`| head`) is no error, and leaves nothing to be told."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None


def print_json(value: Any) -> None:
    """Print a result for another program."""
    with _to_reader():
        typer.echo(json.dumps(value, indent=1, default=str))


def print_table(table: Table) -> None:
    """Print a result for a person on standard output; into a pipe or file, no column is cut to a terminal's width."""
    width = None if sys.stdout.isatty() else _UNCUT
    page = Console(highlight=False, markup=False, emoji=False, width=width)
    with page.capture() as printed:
        page.print(table)
    with _to_reader():
        typer.echo(printed.get(), nl=False)


class LeftOut:
    """Collects what a reader could not use, and says so at once."""

    def __init__(self) -> None:
        self.items: list[dict[str, str]] = []

    def __call__(self, path: Path, error: InputError) -> None:
        self.items.append({"path": str(path), "reason": str(error)})
        say(f"left out: {error}")


def exit_partial(left_out: LeftOut) -> None:
    """End with the code for 'done in part' when anything was left out."""
    if left_out.items:
        raise typer.Exit(ExitCode.PARTIAL)
