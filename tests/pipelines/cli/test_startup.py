"""Mistakes are answered before anything heavy is imported; bench/startup.py times the same commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.bench_support import bench

ROOT = Path(__file__).parents[3]
#: What takes a tenth of a second or more to import, or opens the way to a network.
HEAVY = {
    "ai_edge_litert", "av", "c2pa", "cv2", "gradio", "huggingface_hub", "librosa", "mediapipe", "pydantic", "ray",
    "scipy", "torch", "transformers",
}  # fmt: skip
#: Modules loaded, where ``import typer, rich, numpy`` loads some 600; torch alone brings 1000 more.
MOST = 900
RUN = """
import json, sys
from pipelines.cli.main import main
try:
    main()
except SystemExit as end:
    print(json.dumps({"code": end.code, "modules": sorted(sys.modules)}), file=sys.__stdout__)
"""


@pytest.mark.parametrize(
    ("mistake", "code", "says"),
    [
        ("--help", 0, ""),
        ("missing file", 1, "there is no file nobody.jpg; check the path"),
        ("-o x.avi", 1, "x.avi does not end in .mp4; name the output x.mp4"),
        ("--emotion happiness:1.5", 1, "the intensity '1.5' of happiness is not a number from 0 to 1"),
        ("absent weights", 1, "the weights moda are not here; `moda weights fetch moda` fetches them"),
        ("unknown option", 2, "No such option: --colour"),
        ("faulty manifest", 2, "seed 'one' is not a whole number"),
        ("drive, missing file", 1, "there is no file nothing.mp4"),
        ("drive, absent weights", 1, "the weights liveportrait are not here"),
        ("render, missing file", 1, "there is no file nothing.npz"),
        ("faces, missing file", 1, "there is no file nobody.jpg"),
        ("verify, missing file", 1, "there is no file nothing.mp4"),
        ("prepare, missing folder", 1, "nowhere is not a folder; name the folder that holds the videos"),
        ("app, wrong --auth", 2, "give a name and a password"),
    ],
)
def test_a_mistake_is_answered_before_anything_heavy(tmp_path, monkeypatch, mistake, code, says):
    line = bench("startup", monkeypatch).mistakes(tmp_path)[mistake]
    monkeypatch.setenv("MODA_WEIGHTS", str(tmp_path / "weights"))
    found = subprocess.run([sys.executable, "-c", RUN, *line], cwd=ROOT, capture_output=True, text=True)
    end = json.loads(found.stdout.splitlines()[-1])
    assert end["code"] == code and says in found.stderr
    assert {name for name in end["modules"] if name.partition(".")[0] in HEAVY} == set()
    assert len(end["modules"]) <= MOST


def test_every_mistake_that_is_timed_is_one(tmp_path, monkeypatch):
    """The bench would otherwise time something that works, or a usage error of its own."""
    lines = bench("startup", monkeypatch).mistakes(tmp_path)
    for name in ("evaluate, missing set", "train, missing set"):
        found = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *lines[name]], cwd=ROOT, capture_output=True, text=True
        )
        assert found.returncode == 1 and "no manifest.jsonl in nowhere" in found.stderr
