"""What a former version wrote still plays, verifies and resumes."""

from __future__ import annotations

import shutil
from pathlib import Path

from moda.motion import load_motion
from pipelines.batch import Processes, read_manifest, run_batch
from pipelines.batch.report import Report
from pipelines.film import verify
from pipelines.render import render_motion
from tests.media_support import PORTRAIT, files, read_frames
from tests.pipelines.batch.batch_support import Scribe
from tests.pipelines.make_former import write_batch

FORMER = Path(__file__).parent / "former"


def test_a_motion_plays(tmp_path):
    assert load_motion(FORMER / "motion.npz").frames.shape == (10, 70)
    for _ in render_motion(PORTRAIT, FORMER / "motion.npz", tmp_path / "out.mp4", size=256, provenance=False):
        pass
    assert len(read_frames(tmp_path / "out.mp4")) == 10


def test_a_signed_video_verifies():
    verdict = verify(FORMER / "signed.mp4")
    assert (verdict.state, verdict.signer, verdict.synthetic) == ("valid", "unknown", True)
    assert verdict.claim and verdict.claim.task == "talk" and verdict.claim.inputs.keys() == {"portrait", "audio"}


def test_a_batch_goes_on(tmp_path):
    out = Path(shutil.copytree(FORMER / "videos", tmp_path / "videos"))
    with Report(out) as report:
        entry = report.entries["a.mp4",]
        assert (entry.status, entry.frames, report.made("a.mp4", entry.key)) == ("done", 5, entry)
        assert [fault.line for fault in report.entries.values() if fault.status == "error"] == [3]
    plan = read_manifest(write_batch(tmp_path), {"size": 256})
    steps = list(run_batch(plan, out, Processes(1, worker=Scribe), skip_bad=True))
    assert [step.entry.status for step in steps if step.entry] == ["error", "done"]
    assert files(out) == {"a.mp4", "report.jsonl"}
