"""Every gate of the face encoder against a real photograph: as it is, cut, shrunk, doubled, or drawn with a motion that
its face might have had when it was taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts import LIP_OPENING, ModaError, SourceFace
from encoders.face.portrait import (
    CHIN,
    FaceCutOff,
    FaceTooSmall,
    FaceTurned,
    MouthTooOpen,
    NoFace,
    SeveralFaces,
    encode_face,
)
from moda.motion.layout import PITCH, YAW, channel
from moda.render import MeshRenderer

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "portraits"
SIDE = 384  # px, of what is drawn

UPPER_LIDS = [channel(159, "y"), channel(386, "y")]
HALF_SHUT, SHUT = ({lid: -drop for lid in UPPER_LIDS} for drop in (0.065, 0.12))  # OC


def opened(gap: float) -> dict[int, float]:
    """Channels that part the lips by ``gap`` OC."""
    return {channel(vertex, "y"): share * gap for vertex, share in LIP_OPENING.items()}


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return encode_face(ROOT / "examples" / "portrait.jpg")


@pytest.fixture(scope="module")
def draw(face: SourceFace) -> Callable[..., np.ndarray]:
    """The photograph with some channels of motion set; ``times`` 2 draws what was drawn, again."""

    def draw(channels: dict[int, float], times: int = 1) -> np.ndarray:
        motion = np.zeros((1, 70), np.float32)
        motion[:, 63] = 1
        motion[:, list(channels)] = list(channels.values())
        source = face
        for _ in range(times):
            (picture,) = MeshRenderer().render(MeshRenderer().prepare(source, SIDE), motion)
            source = encode_face(picture) if times > 1 else source
        return picture

    return draw


def below_the_chin(face: SourceFace) -> np.ndarray:
    """So narrow a piece that the face is not yet cut off, with too little room for the jaw."""
    (x, y), size = face.landmarks[CHIN, :2], face.fit_scale
    left = round(x - 1.1 * size)
    return face.image[: round(y + 0.06 * size), left : left + round(2.2 * size)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "times", "error"),
    [
        ({YAW.start: 18}, 5, FaceTurned),
        ({PITCH.start: 15}, 2, FaceTurned),
        (opened(0.75), 1, MouthTooOpen),
    ],
    ids=["turned", "tilted", "mouth too open"],
)
def test_drawn_until_it_is_refused(
    draw: Callable[..., np.ndarray], channels: dict[int, float], times: int, error: type[ModaError]
) -> None:
    with pytest.raises(error):
        encode_face(draw(channels, times))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "times", "warning"),
    [
        ({YAW.start: 18}, 2, "it will turn less"),
        (opened(0.4), 1, "the mouth is open"),
        (HALF_SHUT, 1, "half shut"),
        (SHUT, 1, "an eye is shut"),
    ],
    ids=["turned", "mouth open", "half shut", "shut"],
)
def test_drawn_until_it_is_warned_of(
    draw: Callable[..., np.ndarray], channels: dict[int, float], times: int, warning: str
) -> None:
    assert any(warning in said for said in encode_face(draw(channels, times)).warnings)


def test_cut_and_shrunk_and_doubled(face: SourceFace) -> None:
    assert any("chin" in said for said in encode_face(below_the_chin(face)).warnings)
    chin = round(float(face.landmarks[CHIN, 1]))
    refused = {
        FaceTooSmall: cv2.resize(face.image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
        FaceCutOff: face.image[: chin - 3],
        SeveralFaces: np.hstack([face.image, face.image[:, ::-1]]),
        NoFace: face.image[chin + 20 :],
    }
    for error, picture in refused.items():
        with pytest.raises(error):
            encode_face(picture)


@pytest.mark.parametrize(
    ("name", "human"),
    [("liveportrait_s25.jpg", False), ("liveportrait_s31.jpg", False), ("moda_3.jpg", True), ("moda_5.jpg", True),
     ("liveportrait_s10.jpg", True), ("sadtalker_art_6.png", True)],
    ids=["dog", "laughing dog", "photograph from below", "statue", "turned painting", "robot"],
)  # fmt: skip
def test_dogs_are_warned_of_and_statues_are_not(name: str, human: bool) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not there: it may not be published, and lies beside the checkout where there is one")
    assert any("human" in said for said in encode_face(SHARED / name).warnings) != human
