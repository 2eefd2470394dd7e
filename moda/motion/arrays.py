"""Arrays from an npz that anybody may have written: nothing is allocated before its size is known to be true."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from contracts import Array

#: What a file that is damaged, or is none, makes zipfile and zlib raise.
DAMAGE = (OSError, EOFError, ValueError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)
LONGEST_HEADER = 1000  # bytes: one of ours has 128
DENSEST = 1032  # deflate makes no more bytes of one
LARGEST_INDEX = 2**16  # bytes that the names of the members, and all else that is not data, may take
PIECE = 2**20
_ENCRYPTED, _PATCHED = 0x1, 0x20  # flags of a member
#: The header of a npy file as numpy writes it, for numbers and text; nothing in it is evaluated.
_HEADER = re.compile(
    r"\{'descr': '([<>|=][fiubU]\d{1,4})', 'fortran_order': (False|True), 'shape': \("
    r"((?:\d{1,15}, ?)*\d{0,15})\), \} *\n"
)


@dataclass(frozen=True)
class Form:
    """What an array has to be."""

    kinds: str  # letters of numpy's kinds
    dimensions: int
    largest: int  # bytes


def read_arrays(path: str | Path, forms: Mapping[str, Form]) -> dict[str, Array]:
    """The arrays of an npz by name: those of ``forms`` that are there, and no others may be.

    Raises FileNotFoundError, or one of DAMAGE.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size = Path(path).stat().st_size
        if size > sum(member.compress_size for member in members) + LARGEST_INDEX:
            raise ValueError("there is more in the file than its arrays")
        found: dict[str, Array] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in found or name not in forms or member.compress_size > size:
                raise ValueError("an array that is no part of it, or is there twice")
            found[name] = _read(archive, member, forms[name])
        return found


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, form: Form) -> Array:
    if member.flag_bits & (_ENCRYPTED | _PATCHED) or member.compress_type not in (
        zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    ):  # fmt: skip
        raise ValueError("packed in a way that numpy does not know")
    with archive.open(member) as file:
        magic = file.read(10)
        length = int.from_bytes(magic[8:10], "little")
        header = _HEADER.fullmatch(file.read(length).decode("latin-1")) if length <= LONGEST_HEADER else None
        if magic[:8] != b"\x93NUMPY\x01\x00" or header is None:
            raise ValueError("no header of an array")
        dtype, shape = np.dtype(header[1]), tuple(int(n) for n in header[3].split(",") if n.strip())
        count = 1
        for n in shape:
            count *= n
        size = count * dtype.itemsize
        if dtype.kind not in form.kinds or len(shape) != form.dimensions or size > form.largest:
            raise ValueError("an array of another kind or size")
        if member.file_size != 10 + length + size or member.file_size > DENSEST * (member.compress_size + 1):
            raise ValueError("an array of another size than it says")
        data = np.empty(size, np.uint8)
        for begin in range(0, size, PIECE):
            piece = file.read(min(PIECE, size - begin))
            data[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
            if len(piece) < min(PIECE, size - begin):
                raise EOFError
        file.read(1)  # at the end the sum of the bytes is checked
    return data.view(dtype).reshape(shape, order="F" if header[2] == "True" else "C")
