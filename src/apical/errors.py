"""Errors that a person can act on; each kind has one exit code (listed in docs/cli.md)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit code of every `apical` command."""

    OK = 0
    BUG = 1
    USAGE = 2
    INPUT = 3
    OUTPUT = 4
    MODEL = 5
    PARTIAL = 6
    INTERRUPTED = 130


class ApicalError(Exception):
    """Base of all errors raised on purpose: one line that names the file and says what to do."""

    exit_code = ExitCode.BUG


class InputError(ApicalError):
    """Something that was given cannot be used: unreadable, damaged, hostile or not an echocardiogram."""

    exit_code = ExitCode.INPUT


class OutputError(ApicalError):
    """A result cannot be written: it exists already, or the place is read-only."""

    exit_code = ExitCode.OUTPUT


class ModelError(ApicalError):
    """A model is unknown, damaged or not of this version."""

    exit_code = ExitCode.MODEL


class InterruptedRunError(BaseException):
    """A person or the system asked the program to stop.

    No `Exception`: whoever takes any error of a decoder for a damaged file must let this one through.
    """

    exit_code = ExitCode.INTERRUPTED
