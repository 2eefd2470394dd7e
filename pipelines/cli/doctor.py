"""Is everything here that moda needs, and does it work? Versions, device, models, and one second of video.

When asked to, the face landmarker is held against MediaPipe as well, whose networks it runs.
"""

from __future__ import annotations

import platform
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from contracts import FPS, SAMPLE_RATE
from encoders.audio import audio_blocks
from encoders.face import load_model
from moda.motion import lip_gap, load_motion
from pipelines.weights import summary

if TYPE_CHECKING:
    from contracts import Array, Motion

PACKAGES = ("torch", "transformers", "ai-edge-litert", "opencv-python", "av", "numpy", "gradio")
PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.jpg"
SECONDS = 1.0
CLOSE = 0.1  # px: landmarks that differ from MediaPipe's by less are the same


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    detail: str


def examine(device: str = "auto", *, reference: bool = False) -> Iterator[Finding]:
    """One finding after the other; nothing is raised.

    ``reference`` compares the face landmarker with MediaPipe, which looks up a host of its maker's while it runs.
    """
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}")
    for package in PACKAGES:
        yield _find(package, partial(version, package))
    yield _find("device", lambda: _device(device))
    yield _find("video and sound codecs", _codecs)
    yield _find("face model", lambda: f"{len(load_model()) / 1e6:.1f} MB, as expected")
    if reference:
        yield _find("face landmarker against mediapipe", _against_reference)
    yield _find("audio encoder and motion generator", lambda: _networks(device))
    yield _find("published weights", summary)
    yield _find("signing", _signing)
    yield _find("self-test", lambda: _self_test(device))


def _find(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except PackageNotFoundError:
        return Finding(name, False, f"not installed; pip install {name}")
    except Exception as error:  # whatever is wrong is what we are here to tell
        return Finding(name, False, f"{error}" or type(error).__name__)


def _device(name: str) -> str:
    from pipelines.device import available_devices, choose_device

    return f"{choose_device(name)} (here: {', '.join(available_devices())})"


def _codecs() -> str:
    for name in ("libx264", "aac"):
        av.Codec(name, "w")
    return f"libx264 and aac of PyAV {av.__version__}"


def _against_reference() -> str:
    from encoders.face import FaceLandmarker, load_image, reference_landmarks

    picture = load_image(PORTRAIT)
    with FaceLandmarker() as landmarker:
        (own,) = landmarker.detect(picture)
    try:
        ((theirs,),) = reference_landmarks([picture])
    except OSError as error:
        raise RuntimeError(f"MediaPipe cannot be loaded ({error}); sudo apt-get install libegl1 libgles2") from error
    points = float(np.abs(own.points - theirs.points).max())
    shapes = float(np.abs(own.blendshapes - theirs.blendshapes).max())
    said = f"the largest difference is {points:.4f} px of a landmark, {shapes:.4f} of a blendshape"
    _expect(points < CLOSE, f"{said}; at most {CLOSE} px is expected")
    return said


def _networks(device: str) -> str:
    from pipelines.talk import TalkingHead

    models = TalkingHead(device).models()
    networks = (models.listener.network, models.generator)
    sizes = [sum(p.numel() for p in network.parameters()) / 1e6 for network in networks]
    return f"{sizes[0]:.1f} M and {sizes[1]:.1f} M parameters"


def _signing() -> str:
    from pipelines.film import rehearse_signing

    return f"C2PA, {rehearse_signing()}"


def synthetic_speech(seconds: float, rate: int = SAMPLE_RATE) -> Array:
    """Something with the sound of speech, int16 [N]: a 120 Hz voice through two formants, four syllables a second."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) * (np.exp(-(((120 * k - 700) / 300) ** 2)) +
               0.5 * np.exp(-(((120 * k - 1200) / 300) ** 2))) for k in range(1, 30))  # fmt: skip
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * t)
    return (buzz / np.abs(buzz).max() * syllables * 16_000).astype(np.int16)


def _self_test(device: str) -> str:
    """A second of synthetic speech on the bundled portrait, through everything, and read back."""
    from pipelines.film import verify
    from pipelines.options import TalkOptions
    from pipelines.talk import TalkingHead

    if not PORTRAIT.is_file():
        return f"left out: no {PORTRAIT.name} beside the program, which is not run from a checkout"
    with tempfile.TemporaryDirectory(prefix="moda-") as folder:
        voice, video, motion = (Path(folder) / name for name in ("voice.wav", "out.mp4", "motion.npz"))
        with wave.open(str(voice), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(synthetic_speech(SECONDS).tobytes())
        start = time.perf_counter()
        TalkingHead(device).make(PORTRAIT, voice, video, TalkOptions(size=256, save_motion=motion))
        took = time.perf_counter() - start
        with av.open(str(video)) as container:
            frames = sum(1 for _ in container.decode(video=0))
        samples = sum(block.shape[1] for block in audio_blocks(video, SAMPLE_RATE))
        _expect(frames == SECONDS * FPS, f"{frames} frames instead of {SECONDS * FPS:.0f}")
        _expect(samples == SECONDS * SAMPLE_RATE, f"{samples} samples of sound instead of {SECONDS * SAMPLE_RATE:.0f}")
        _expect(_moves(load_motion(motion)), "the mouth does not move with the voice")
        _expect(verify(video).valid, "the video's signature does not hold")
    return f"{frames} frames and {samples / SAMPLE_RATE:.2f} s of sound in {took:.1f} s"


def _moves(motion: Motion) -> bool:
    return bool(np.ptp(lip_gap(motion.frames)) > 0.01)  # OC


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
