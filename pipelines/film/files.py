"""The files given and the files asked for, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import ModaError

if TYPE_CHECKING:
    from contracts import StrPath


class InputError(ModaError):
    """A file given that is not there."""


class OutputError(ModaError):
    """An output file that cannot be written."""


def check_inputs(*paths: StrPath) -> None:
    """Raise InputError unless there is something to read under each name; a pipe will do."""
    for path in paths:
        if os.path.isdir(path):
            raise InputError(f"{path} is a folder; name a file in it")
        if not os.path.exists(path):
            raise InputError(f"there is no file {path}; check the path")


def check_output(path: StrPath, suffix: str = ".mp4", inputs: Iterable[StrPath] = ()) -> Path:
    """The path, known to be writable in principle; called before any work is done.

    Raises:
        OutputError: a folder, another suffix, a parent folder that is missing or closed to us, or one of ``inputs``.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; name a file in it, such as {path / f'out{suffix}'}")
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path} does not end in {suffix}; name the output {path.stem}{suffix}")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another one")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {path.parent}; choose another folder")
    if os.path.exists(path) and any(os.path.exists(given) and os.path.samefile(path, given) for given in inputs):
        raise OutputError(f"{path} is one of the files given, and would be lost; name another output")
    return path


def check_outputs(
    out: StrPath, motion: StrPath | None = None, *, inputs: Iterable[StrPath] = ()
) -> tuple[Path, Path | None]:
    """Both paths, known to be writable in principle, and none of ``inputs``, which are there. Raises InputError,
    OutputError."""
    inputs = tuple(inputs)
    check_inputs(*inputs)
    return check_output(out, ".mp4", inputs), None if motion is None else check_output(motion, ".npz", inputs)
