"""A batch killed again and again, at moments that chance chooses."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from moda.files import sha256
from tests.media_support import PORTRAIT, files, read_frames
from tests.pipelines.make_former import cut_voice

ROOT = Path(__file__).parents[3]
HERE = os.environ | {"PYTHONPATH": str(ROOT)}
HEADER = "portrait,audio,output,save_motion\n"
#: A batch of two stand-ins, each with a twentieth of a second for a video.
STANDINS = """
import sys
from pathlib import Path
from pipelines.batch.manifest import read_manifest
from pipelines.batch.run import run_batch
from pipelines.crews.crews import Processes
from tests.pipelines.batch.batch_support import Scribe
if __name__ == "__main__":
    print("begun", flush=True)
    for step in run_batch(read_manifest("jobs.csv"), "videos", Processes(2, worker=Scribe)):
        pass
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX"),
]


def entries(out: Path) -> dict[str, dict]:
    """The whole lines of the report, each output once."""
    if not (out / "report.jsonl").exists():
        return {}
    *lines, half = (out / "report.jsonl").read_text().split("\n")
    assert half == "" or not half.endswith("}")
    rows = [json.loads(line) for line in lines]
    assert max(Counter(row["output"] for row in rows).values(), default=1) == 1
    return {row["output"]: row for row in rows}


def check_kept(out: Path, kept: dict[str, int]) -> dict[str, int]:
    """Everything the report names is whole, and nothing was made anew: when each video was made."""
    rows = entries(out)
    assert set(kept) <= set(rows)
    for row in rows.values():
        assert row["status"] == "done"
        assert {name: sha256(out / name) for name in row["hashes"]} == row["hashes"]
    when = {name: (out / name).stat().st_mtime_ns for name in rows}
    assert {name: when[name] for name in kept} == kept
    return when


def test_thirty_videos_survive_twenty_kills(tmp_path: Path) -> None:
    chance = random.Random(20)
    names = [f"{n}.mp4" for n in range(30)]
    for n in range(30):
        (tmp_path / f"brief{n}.wav").write_text(f"voice {n}")
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_text(name)
    rows = [f"{'ab'[n % 2]}.jpg,brief{n}.wav,{name},{f'{n}.npz' if n % 3 == 0 else ''}" for n, name in enumerate(names)]
    (tmp_path / "jobs.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (tmp_path / "jobs.py").write_text(STANDINS)
    out, kept, kills = tmp_path / "videos", dict[str, int](), 0
    command = [sys.executable, "jobs.py"]
    for _ in range(20):
        process = subprocess.Popen(command, cwd=tmp_path, env=HERE, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        time.sleep(chance.uniform(0, 2.0))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        kept = check_kept(out, kept)
    subprocess.run(command, cwd=tmp_path, env=HERE, check=True, stdout=subprocess.DEVNULL)
    kept = check_kept(out, kept)
    assert set(kept) == set(names) and kills >= 5
    assert files(out) == {*names, *(f"{n}.npz" for n in range(0, 30, 3)), "report.jsonl"}
    for n, name in enumerate(names):
        assert (out / name).read_text() == f"{'ab'[n % 2]}.jpg brief{n}.wav neutral"


def test_real_videos_survive_kills(tmp_path: Path) -> None:
    chance = random.Random(4)
    (tmp_path / "p.jpg").write_bytes(PORTRAIT.read_bytes())
    for n in range(6):
        cut_voice(tmp_path / f"{n}.wav", 1.0 + n, 0.4)
    (tmp_path / "jobs.csv").write_text(HEADER + "".join(f"p.jpg,{n}.wav,{n}.mp4,{n}.npz\n" for n in range(6)))
    out, kept = tmp_path / "videos", dict[str, int]()
    command = [sys.executable, "-m", "pipelines.cli", "batch", tmp_path / "jobs.csv", "-o", out, "--workers", "2"]
    command += ["--set", "size=256", "--json"]
    for count in (1, 3):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        while len([name for name in entries(out) if name not in kept]) < count and process.poll() is None:
            time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate()
        kept = check_kept(out, kept)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    check_kept(out, kept)
    assert files(out) == {f"{n}.{suffix}" for n in range(6) for suffix in ("mp4", "npz")} | {"report.jsonl"}
    assert [len(read_frames(out / f"{n}.mp4")) for n in range(6)] == [10] * 6
