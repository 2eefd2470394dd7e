"""A private folder for what visitors of the page bring and take away, and what they may bring."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from contracts import ModaError

HOUR = 3600.0
BROKEN_OFF = 120.0  # seconds after which an upload that does not go on is none
BEGUN = 2.0  # seconds after which a server that begins has locked what it has
PREFIX, LOCK = "moda-page-", ".lock"


class LimitError(ModaError):
    """More than this server takes."""


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for."""

    seconds: float = 120.0  # of speech
    megabytes: float = 50.0  # of an upload
    megapixels: float = 50.0  # of a portrait: decoded, 150 MB

    def __post_init__(self) -> None:
        for limit, most, name in ((self.seconds, 3600, "--max-seconds"), (self.megabytes, 10_000, "--max-upload-mb")):
            if not 0 < limit <= most:  # not a number is outside as well
                raise LimitError(f"a limit of {limit:g} is none; give {name} as a number above 0, {most} at most")

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    def check_picture(self, path: Path) -> None:
        """Read the size in the header; what is no picture passes, for others to say so. Raises LimitError."""
        with suppress(OSError, SyntaxError, ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                with Image.open(path) as picture:
                    width, height = picture.size
            except Image.DecompressionBombError:
                width = height = 100_000
            if width * height > self.megapixels * 1e6:
                taken = f"the {self.megapixels:g} million pixels that are taken here"
                raise LimitError(f"{path.name} has more than {taken}; scale it down")


class Workspace:
    """Folders with names that nobody guesses, each gone an hour after it was last used."""

    def __init__(self, root: Path, keep: float = HOUR) -> None:
        """``keep``: seconds."""
        self.root, self.keep = root, keep

    def new(self) -> Path:
        """A new folder."""
        folder = self.root / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        return folder

    def use(self, path: Path) -> None:
        """Count the age of ``path`` from now, if it is one of ours."""
        if self.root in path.parents:
            with suppress(OSError):
                os.utime(path)

    def clean(self) -> None:
        """Remove every folder in which nothing was touched for ``keep`` seconds, and uploads that were broken off: as
        long as they come they are files beside the folders."""
        now = time.time()
        for entry in self.root.iterdir():
            if entry.name == LOCK:
                continue
            with suppress(OSError):  # another hand was quicker
                age = now - max(path.stat().st_mtime for path in (entry, *entry.rglob("*")))
                if entry.is_dir() and age > self.keep:
                    shutil.rmtree(entry)
                elif entry.is_file() and age > BROKEN_OFF:
                    entry.unlink()

    def without_folders(self, text: str) -> str:
        """A message as its reader should see it: visitors know their files by name."""
        return re.sub(rf"{re.escape(str(self.root))}/(?:[^\s/]+/)*", "", text)


@contextmanager
def open_workspace(every: float = 60.0) -> Iterator[Workspace]:
    """A workspace of mode 0700 under the system's folder for temporary files, cleaned every ``every`` seconds, and gone
    at the end. What a server that was killed has left there is removed first."""
    remove_left(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as root:  # mkdtemp: for our eyes only
        workspace, done = Workspace(Path(root).resolve()), threading.Event()

        def tidy() -> None:
            while not done.wait(every):
                workspace.clean()

        with (workspace.root / LOCK).open("w") as lock:
            _hold(lock)
            threading.Thread(target=tidy, name="workspace-cleaner", daemon=True).start()
            try:
                yield workspace
            finally:
                done.set()


def remove_left(folder: Path) -> None:
    """Remove the workspaces in ``folder`` that are ours and whose server no longer lives: it would hold their lock."""
    for left in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):  # of another user, or held
            if time.time() - (left / LOCK).stat().st_mtime < BEGUN:
                continue
            with (left / LOCK).open("r+") as lock:
                _hold(lock)
            shutil.rmtree(left)


def _hold(lock: IO[str]) -> None:
    """Lock a file until it is closed, or its process ends however that comes. Raises OSError where it is locked."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def give_back_memory(error: BaseException | None = None) -> None:
    """Hand the memory that pictures took back to the system: what glibc keeps for each thread that ever looked at one,
    and what ``error``, as long as somebody has it, keeps of where it came from."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # musl has none
    if trim is not None:
        trim(0)
