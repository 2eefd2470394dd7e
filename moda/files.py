"""Files: output that is whole or not there, and what names a content."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT = 100  # bytes of a name that its temporary name keeps: names end at 255, in some places at 143


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to. It becomes ``path`` at the end, and goes if that is not reached.

    A link stays; what it leads to is replaced, or made where there is nothing yet.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    kept = path.name.lstrip(".").encode("utf-8", "ignore")[:KEPT].decode("utf-8", "ignore")
    temporary = path.with_name(f".{kept}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """Of the content, hex. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
