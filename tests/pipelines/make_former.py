"""What a former version wrote, small, for tests/pipelines/test_former.py.

    python tests/pipelines/make_former.py CHECKOUT OUT

CHECKOUT is that version's; those in tests/pipelines/former are of version 0.1.0 at commit def29a1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = "import sys; sys.argv[0] = 'moda'; from pipelines.cli import main; main()"


def cut_voice(path: Path, begin: float, seconds: float) -> Path:
    """A piece of the English example."""
    with wave.open(str(EXAMPLES / "voice_en.wav")) as source, wave.open(str(path), "wb") as piece:
        rate = source.getframerate()
        source.setpos(int(begin * rate))
        piece.setnchannels(1)
        piece.setsampwidth(2)
        piece.setframerate(rate)
        piece.writeframes(source.readframes(int((begin + seconds) * rate) - int(begin * rate)))
    return path


def write_batch(folder: Path) -> Path:
    """A manifest with a row that can be made and one that cannot, and its files."""
    (folder / "portrait.jpg").write_bytes((EXAMPLES / "portrait.jpg").read_bytes())
    cut_voice(folder / "short.wav", 1.0, 0.2)
    manifest = folder / "jobs.csv"
    manifest.write_text("portrait,audio,output\nportrait.jpg,short.wav,a.mp4\nportrait.jpg,missing.wav,b.mp4\n")
    return manifest


def main(checkout: Path, out: Path) -> None:
    out.mkdir(parents=True)
    write_batch(out)
    cut_voice(out / "hello.wav", 0.9, 0.4)

    def moda(*words: str) -> None:
        data = {"PYTHONPATH": str(checkout.absolute()), "XDG_DATA_HOME": str(out.absolute() / "data")}
        subprocess.run([sys.executable, "-c", COMMAND, *words], cwd=out, env=os.environ | data)

    moda("talk", "portrait.jpg", "hello.wav", "-o", "signed.mp4", "--size", "256", "--save-motion", "motion.npz")
    moda("batch", "jobs.csv", "-o", "videos", "--set", "size=256", "--skip-bad")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
