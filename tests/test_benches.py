"""What the benches under bench/ count, on motion made by hand."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from test_emotion import shapes

BENCH = Path(__file__).resolve().parents[1] / "bench"
LOWER_LIP = 10  # y of the lower inner lip


def bench(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_strips_find_what_is_wrong_and_draw_every_second_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strips = bench("strips", monkeypatch)
    motion = np.zeros((100, 70), np.float32)
    motion[:, LOWER_LIP] = -0.2
    motion[20:24, LOWER_LIP] = 0  # the first p is shut, the second is not
    phones = [""] * 100
    phones[20:24], phones[50:53], phones[60:64] = ["p"] * 4, ["b"] * 3, ["ɑ"] * 4
    silence = np.zeros(100)
    silence[80:] = 1
    shown = strips.Take(motion, ["aa"] * 100, phones, silence, None)
    assert strips.faults(shown) == [
        "p b m, lips never shut: 1 of 2 at 2.00 s",
        "silence, lips open: 1 of 1 at 3.20 s",
        "open vowel, lips shut: 0 of 1",
    ]
    motion[60:64, LOWER_LIP] = motion[80:, LOWER_LIP] = 0
    assert strips.faults(shown)[1:] == ["silence, lips open: 0 of 1", "open vowel, lips shut: 1 of 1 at 2.40 s"]

    recording = strips.Recording("x", np.zeros(64_000, np.float32), np.full(100, 0.1))
    crops = [np.full((strips.TILE, strips.TILE, 3), 9 * (k % 20), np.uint8) for k in range(50)]
    strips.draw(recording, replace(shown, foretold=np.full(100, 0.3)), crops, tmp_path / "x.png")
    sheet = np.asarray(Image.open(tmp_path / "x.png"))
    rows, height = 4, strips.TILE + strips.TEXT + strips.CURVE
    assert sheet.shape == (rows * height, strips.COLUMNS * strips.TILE, 3)
    for k in (0, 14, 15, 49):
        row, column = divmod(k, strips.COLUMNS)
        tile = sheet[row * height :][: strips.TILE, column * strips.TILE :][:, : strips.TILE]
        assert (tile == crops[k]).all()


def test_emotion_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    emotion = bench("emotion", monkeypatch)
    frame = np.zeros((4, 4, 3), np.uint8)
    person = emotion.Portrait.__new__(emotion.Portrait)
    person.neutral = emotion.Look(shapes(mouthSmile=0.1), frame)
    smile = emotion.Look(shapes(mouthSmile=0.7), frame)
    assert person.judge("happiness", smile) == "named" and person.score("happiness", smile) > 0.8
    assert person.judge("anger", smile) == "no" and person.score("anger", smile) == 0
    assert person.judge("happiness", person.neutral) == "no"
    mixed = emotion.Look(shapes(mouthSmile=0.4, browDown=0.6), frame)
    assert person.judge("happiness", mixed) != "named" and person.judge("anger", mixed) == "named"


def test_the_longest_clip_of_each_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = bench("rendered", monkeypatch)

    class Clip(str):
        @property
        def speaker(self) -> str:
            return self[0]

    clips = [Clip("a1"), Clip("a1234"), Clip("b12"), Clip("c1234567")]
    assert rendered.longest(clips, 2) == ["c1234567", "a1234"]
