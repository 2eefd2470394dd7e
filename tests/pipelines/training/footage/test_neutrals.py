"""One neutral face for all videos of a speaker."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.footage.clips import _arrays
from pipelines.training.footage.neutrals import share_neutrals
from pipelines.training.footage.takes import cut, make_takes
from tests.pipelines.training.footage.test_prepare import footage

SMILE = 0.06  # OC that the corners of the mouth are raised by


def prepared(folder: Path, speakers: dict[str, str]) -> None:
    """Records and clips of a video each; in "happy" a smile is held."""
    (folder / "videos").mkdir(exist_ok=True)
    (folder / "npz").mkdir(exist_ok=True)
    for name, speaker in speakers.items():
        shot = footage(200 if name == "happy" else 400)
        if name == "happy":
            shot.keypoints[:, :2, 1] += SMILE
            shot.keypoints[:, 3, 1] -= 0.03  # and the lips never meet
        (take,), neutral = make_takes(shot, cut(shot))
        arrays = _arrays(take, np.zeros(640 * len(take), np.float32), neutral)
        np.savez(folder / "npz" / f"{name}.npz", **arrays)
        row = {"name": name, "blob": name, "speaker": speaker, "neutral": neutral.figures}
        (folder / "videos" / f"{name}.json").write_text(json.dumps({"path": name, "clips": [row]}))


def corners(folder: Path, name: str) -> float:
    with np.load(folder / "npz" / f"{name}.npz") as file:
        return float(np.median(file["exp"][:, :2, 1]))


def group(folder: Path, name: str) -> str:
    return str(json.loads((folder / "videos" / f"{name}.json").read_text())["clips"][0]["neutral"].get("group", ""))


def test_a_held_smile_stays_where_the_speaker_is_known_from_another_video(tmp_path: Path) -> None:
    prepared(tmp_path, {"happy": "ann", "plain": "ann", "other": "bob"})
    before = {path: path.read_bytes() for path in tmp_path.glob("*/other.*")}
    assert corners(tmp_path, "happy") == pytest.approx(0, abs=0.01)
    share_neutrals(tmp_path / "videos", tmp_path / "npz")
    assert corners(tmp_path, "happy") == pytest.approx(SMILE, abs=0.01)
    assert corners(tmp_path, "plain") == pytest.approx(0, abs=0.01)
    assert group(tmp_path, "happy") == group(tmp_path, "plain") != ""
    assert {path: path.read_bytes() for path in before} == before


def test_it_is_done_once_and_anew_where_the_group_changes(tmp_path: Path) -> None:
    prepared(tmp_path, {"happy": "ann", "plain": "ann"})
    share_neutrals(tmp_path / "videos", tmp_path / "npz")
    with np.load(tmp_path / "npz" / "happy.npz") as file:
        keypoints = file["exp"].astype(np.float32) + file["neutral"]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    share_neutrals(tmp_path / "videos", tmp_path / "npz")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    record = tmp_path / "videos" / "plain.json"
    record.write_text(record.read_text().replace('"ann"', '"eve"'))  # the table is corrected
    share_neutrals(tmp_path / "videos", tmp_path / "npz")
    assert corners(tmp_path, "happy") == pytest.approx(0, abs=0.01) and group(tmp_path, "happy") == ""
    with np.load(tmp_path / "npz" / "happy.npz") as file:
        np.testing.assert_allclose(file["exp"].astype(np.float32) + file["neutral"], keypoints, atol=5e-4)


def test_a_run_that_was_stopped_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path, {"happy": "ann", "plain": "ann"})
    save, saved = np.savez_compressed, []

    def stop(file: object, **arrays: object) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(file)
        save(file, **arrays)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez_compressed", stop)
        share_neutrals(tmp_path / "videos", tmp_path / "npz")
    share_neutrals(tmp_path / "videos", tmp_path / "npz")
    assert corners(tmp_path, "happy") == pytest.approx(SMILE, abs=0.01)
