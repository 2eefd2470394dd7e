"""How soon a mistake is answered: commands that fail before any model is needed, against importing what prints them.

    python bench/startup.py [--rounds 7]

Each command and the baseline, ``python -c "import typer, rich"``, run in turn; the table has the median of each, in
seconds of the processor, which a busy machine changes least, and what the baseline allows: 1.5 times its own and .3 s.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ["-c", "import typer, rich"]
MODA = ["-m", "pipelines.cli"]


def mistakes(folder: Path) -> dict[str, list[str]]:
    """Command lines that need no model, by what is wrong with them; files are made in ``folder``."""
    portrait, voice = (str(ROOT / "examples" / name) for name in ("portrait.jpg", "voice_en.wav"))
    manifest = folder / "jobs.csv"
    manifest.write_text("portrait,audio,seed\nnobody.jpg,nothing.wav,one\n", "utf-8")
    out = ["-o", str(folder / "out.mp4")]
    return {
        "--help": ["--help"],
        "missing file": ["talk", "nobody.jpg", voice, *out],
        "-o x.avi": ["talk", portrait, voice, "-o", "x.avi"],
        "--emotion happiness:1.5": ["talk", portrait, voice, *out, "--emotion", "happiness:1.5"],
        "absent weights": ["talk", portrait, voice, *out, "--weights", "moda"],
        "unknown option": ["talk", portrait, voice, *out, "--colour", "red"],
        "faulty manifest": ["batch", str(manifest), "-o", str(folder / "videos")],
        "drive, missing file": ["drive", portrait, "nothing.mp4", *out],
        "drive, absent weights": ["drive", portrait, voice, *out, "--renderer", "liveportrait"],
        "render, missing file": ["render", portrait, "nothing.npz", *out],
        "faces, missing file": ["faces", "nobody.jpg"],
        "verify, missing file": ["verify", "nothing.mp4"],
        "evaluate, missing set": ["evaluate", "nowhere"],
        "train, missing set": ["train", "motion", "nowhere", "-o", str(folder / "m.safetensors")],
        "prepare, missing folder": ["prepare", "nowhere", "-o", str(folder / "set")],
        "app, wrong --auth": ["app", "--auth", "ada"],
    }


def seconds(arguments: list[str]) -> float:
    """Of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: Annotated[int, typer.Option(min=1, help="Of each command.")] = 7) -> None:
    with tempfile.TemporaryDirectory() as folder:
        commands = {name: [*MODA, *line] for name, line in mistakes(Path(folder)).items()}
        times: dict[str, list[float]] = {name: [] for name in ("", *commands)}
        for _ in range(rounds):
            for name in times:
                times[name].append(seconds(commands.get(name, BASELINE)))
    base = statistics.median(times.pop(""))
    allowed = 1.5 * base + 0.3
    table = Table("command", "s", "x import typer, rich", f"allowed {allowed:.2f} s")
    for name, taken in times.items():
        middle = statistics.median(taken)
        table.add_row(name, f"{middle:.2f}", f"{middle / base:.1f}", "yes" if middle <= allowed else "NO")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
