"""The motion space and motion files."""

from __future__ import annotations

import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts import MOTION_DIM, Motion
from moda.motion import layout, saved
from moda.motion.arrays import Form
from moda.motion.layout import MotionError
from moda.motion.saved import load_motion, save_motion
from moda.motion.space import MotionSpace

SPACE = MotionSpace("mesh", torch.linspace(-1, 1, 70), torch.linspace(0, 2, 70), torch.ones(70))


def test_the_slices_tile_a_frame() -> None:
    parts = [layout.EXPRESSION, layout.SCALE, layout.TRANSLATION, layout.PITCH, layout.YAW, layout.ROLL]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(MOTION_DIM))
    assert (layout.ROTATION.start, layout.ROTATION.stop) == (layout.PITCH.start, layout.ROLL.stop)
    assert (layout.POSE.start, layout.POSE.stop) == (layout.SCALE.start, layout.ROLL.stop)


def test_normalisation_is_the_published_one() -> None:
    x = torch.randn(3, 70, generator=torch.Generator().manual_seed(0))
    z = SPACE.normalise(x)
    assert torch.equal(z, (x - SPACE.mean) / (SPACE.std + 1e-5))
    assert z[:, 0].abs().min() > 1e3, "a channel that never moves is carried by the epsilon"
    torch.testing.assert_close(SPACE.denormalise(z), x, rtol=1e-5, atol=1e-5)


def test_rest() -> None:
    rest = SPACE.rest
    assert rest[layout.SCALE] == 1 and rest.sum() == 1
    assert torch.equal(MotionSpace("liveportrait", SPACE.mean, SPACE.std, SPACE.noise).rest, SPACE.mean)


def test_a_space_is_checked() -> None:
    with pytest.raises(ValueError, match="unknown motion space"):
        MotionSpace("voxel", SPACE.mean, SPACE.std, SPACE.noise)
    with pytest.raises(ValueError, match="70"):
        MotionSpace("mesh", SPACE.mean[:69], SPACE.std, SPACE.noise)


def frames(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 70)).astype(np.float32)


def test_a_motion_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "motion.npz"
    save_motion(path, Motion(frames(), "liveportrait"))
    save_motion(path, Motion(frames(9), "mesh"))  # over the first
    back = load_motion(path)
    assert np.array_equal(back.frames, frames(9)) and back.space == "mesh" and back.fps == 25
    assert back.frames.dtype == np.float32
    assert list(tmp_path.iterdir()) == [path], "no temporary file stays"


def test_a_file_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    save_motion(tmp_path / "take 1", Motion(frames()))
    assert len(load_motion(tmp_path / "take 1")) == 7


@pytest.mark.parametrize("bad", [frames()[:, :69], frames()[0], np.full((3, 70), np.nan)], ids=["69", "1-d", "nan"])
def test_only_motion_is_written(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(MotionError, match="finite"):
        save_motion(tmp_path / "motion.npz", Motion(bad))
    assert not list(tmp_path.iterdir())


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(MotionError, match="choose a folder"):
        save_motion(tmp_path / "absent" / "motion.npz", Motion(frames()))


def write(path: Path, **arrays: object) -> None:
    np.savez(path, **({"frames": frames(), "space": "mesh", "fps": 25, "format": saved.FORMAT} | arrays))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"format": "moda-motion-9"}, "another format"),
        ({"fps": 30}, "30 frames a second"),
        ({"frames": frames()[:, :10]}, "holds no finite"),
        ({"frames": frames()[:0]}, "holds no finite"),
        ({"frames": frames() * np.nan}, "holds no finite"),
        ({"frames": np.array([None, 1], dtype=object)}, "is not a moda motion file"),
        ({"frames": np.array("text")}, "is not a moda motion file"),
        ({"space": "voxel"}, "unknown motion space"),
    ],
)
def test_a_wrong_motion_file_is_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = tmp_path / "motion.npz"
    write(path, **arrays)
    with pytest.raises(MotionError, match=message) as caught:
        load_motion(path)
    assert "\n" not in str(caught.value) and "--save-motion" in str(caught.value)


def npz(path: Path, header: str, data: bytes, name: str = "frames") -> Path:
    """A motion file whose frames have this npy header."""
    write(path)
    with zipfile.ZipFile(path) as source:
        members = {info: source.read(info) for info in source.namelist() if info != "frames.npy"}
    head = header.ljust(117).encode("latin-1") + b"\n"
    members[f"{name}.npy"] = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member, content in members.items():
            target.writestr(member, content)
    return path


def described(shape: str, dtype: str = "<f4") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


def test_a_header_as_numpy_writes_it_is_read(tmp_path: Path) -> None:
    assert len(load_motion(npz(tmp_path / "motion.npz", described("(10, 70)"), bytes(2800)))) == 10


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (described("(10, 70)"), 2796),  # a number is missing
        (described("(10, 70)"), 2804),
        (described("(20000000, 70)"), 2800),  # 5.6 GB
        (described("(20000000, 70)"), 5 * 2**20),
        (described("(1099511627776, 70)"), 2800),
        (described("(-10, 70)"), 2800),
        (described("(10, 70)", "|O8"), 5600),
        (described("(10, 70)", "<c8"), 5600),
        (described("(" * 30), 2800),  # what evaluates it stumbles
        ("{'descr': __import__('os').abort()}", 2800),
    ],
)
def test_a_header_that_lies_is_named_before_anything_is_allocated(tmp_path: Path, header: str, size: int) -> None:
    path = npz(tmp_path / "motion.npz", header, bytes(size))
    tracemalloc.start()
    with pytest.raises(MotionError, match="is not a moda motion file"):
        load_motion(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_zeros_that_unpack_to_more_than_is_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "motion.npz", described("(5000, 70)"), bytes(280 * 5000))
    assert len(load_motion(path)) == 5000
    monkeypatch.setitem(saved._FORMS, "frames", Form("f", 2, 280 * 4999))
    with pytest.raises(MotionError, match="is not a moda motion file"):
        load_motion(path)


def test_an_array_that_is_no_part_of_it_is_named(tmp_path: Path) -> None:
    path = npz(tmp_path / "motion.npz", described("(10, 70)"), bytes(2800), "faces")
    with pytest.raises(MotionError, match="is not a moda motion file"):
        load_motion(path)


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_no_flipped_byte_ends_otherwise(tmp_path: Path, at: int) -> None:
    path = tmp_path / "motion.npz"
    save_motion(path, Motion(frames()))
    data = bytearray(path.read_bytes())
    data[at * len(data) // 400] ^= 0xA5
    path.write_bytes(data)
    with suppress(MotionError):
        load_motion(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short"], ids=["empty", "text", "cut"])
def test_what_is_no_motion_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "motion.npz"
    path.write_bytes(content)
    with pytest.raises(MotionError, match="is not a moda motion file"):
        load_motion(path)
    np.save(tmp_path / "array.npy", frames())
    np.savez(tmp_path / "other.npz", a=frames())
    for other in ("array.npy", "other.npz"):
        with pytest.raises(MotionError, match="is not a moda motion file"):
            load_motion(tmp_path / other)
    with pytest.raises(MotionError, match="no motion file at"):
        load_motion(tmp_path / "absent.npz")
    with pytest.raises(MotionError):
        load_motion(tmp_path)
