"""The files given and the files asked for, checked before any work is done."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import ModaError

if TYPE_CHECKING:
    from contracts import StrPath


LONGEST_STEM = 30  # characters of a name, of up to four bytes, that the name of a video takes over


class InputError(ModaError):
    """A file given that is not there."""


class OutputError(ModaError):
    """An output file that cannot be written."""


def check_inputs(*paths: StrPath) -> None:
    """Raise InputError unless each is a file; a pipe is none, as it is read more than once."""
    for path in paths:
        if os.path.isdir(path):
            raise InputError(f"{path} is a folder; name a file in it")
        if not os.path.exists(path):
            raise InputError(f"there is no file {path}; check the path")
        if not os.path.isfile(path):
            raise InputError(f"{path} is a pipe or a device, which cannot be read twice; save it as a file first")


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
    folder = Path(os.path.realpath(path)).parent if os.path.islink(path) else path.parent  # where it really goes
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist; create it, or choose another one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {folder}; choose another folder")
    if _too_long(path):
        raise OutputError(f"{path.name[:40]}... is too long a name here; choose a shorter one")
    if os.path.exists(path) and any(os.path.exists(given) and os.path.samefile(path, given) for given in inputs):
        raise OutputError(f"{path} is one of the files given, and would be lost; name another output")
    return path


def free_output(portrait: StrPath, audio: StrPath) -> Path:
    """A name in the current folder for the video of both, ``anna_hello.mp4``: with -2, -3 and so on where there is
    something under it already, so that nothing is replaced."""
    stem = f"{Path(portrait).stem[:LONGEST_STEM]}_{Path(audio).stem[:LONGEST_STEM]}"
    names = itertools.chain([f"{stem}.mp4"], (f"{stem}-{number}.mp4" for number in itertools.count(2)))
    return Path(next(name for name in names if not os.path.lexists(name)))


def _too_long(path: Path) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def check_outputs(
    out: StrPath, motion: StrPath | None = None, *, inputs: Iterable[StrPath] = ()
) -> tuple[Path, Path | None]:
    """Both paths, known to be writable in principle, and none of ``inputs``, which are there. Raises InputError,
    OutputError."""
    inputs = tuple(inputs)
    check_inputs(*inputs)
    return check_output(out, ".mp4", inputs), None if motion is None else check_output(motion, ".npz", inputs)
