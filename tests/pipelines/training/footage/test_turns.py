"""Whose voice it is, on made-up lips and sound."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import FPS
from pipelines.training.footage.clips import take_turns
from pipelines.training.footage.sync import check_sync
from pipelines.training.footage.takes import cut, make_takes
from pipelines.training.footage.turns import Hearing, Turn, find_turns, still_lips
from tests.pipelines.training.footage.test_prepare import babble, footage

FRAMES = 24 * FPS
SPEECH = np.ones(FRAMES, bool)


def lips(opening: np.ndarray, seed: int = 0) -> np.ndarray:
    """A gap that goes with what is heard about as well as real ones do, r .7."""
    noise = np.random.default_rng(seed).normal(0, 1, len(opening))
    return 0.1 + 0.03 * (opening / opening.std() + noise)


def tremble(frames: int) -> np.ndarray:
    """A gap of lips at rest, as it is tracked."""
    return 0.02 + np.random.default_rng(9).normal(0, 0.004, frames)


def turns(gap: np.ndarray, hearing: Hearing, shortest: int = 38) -> list[Turn]:
    return find_turns(gap, still_lips(gap, hearing.speech), hearing, 0, 0, shortest)


def test_one_who_speaks_all_the_time_has_one_turn() -> None:
    opening = babble(FRAMES)
    assert turns(lips(opening), Hearing(opening, SPEECH)) == [Turn(slice(0, FRAMES), "talk")]


def test_somebody_else_over_still_lips_is_listened_to() -> None:
    """An interview: the guest speaks for 10 s, is asked something for 6 s, and answers."""
    opening = babble(FRAMES)
    gap = lips(opening)
    gap[250:400] = tremble(150)
    before, question, after = turns(gap, Hearing(opening, SPEECH))
    assert [turn.kind for turn in (before, question, after)] == ["talk", "listen", "talk"]
    assert abs(question.frames.start - 250) <= 5 and abs(question.frames.stop - 400) <= 5


def test_a_pause_is_no_listening() -> None:
    opening = babble(FRAMES)
    gap = lips(opening)
    gap[250:400] = tremble(150)
    quiet = SPEECH.copy()
    quiet[250:400] = False
    assert [turn.kind for turn in turns(gap, Hearing(opening, quiet))] == ["talk"]


def test_lips_that_move_with_another_voice_are_left_out() -> None:
    opening = babble(FRAMES)
    gap = lips(opening)
    gap[300:] = lips(babble(FRAMES, seed=5))[300:]
    talk, astray = turns(gap, Hearing(opening, SPEECH))
    assert (talk.kind, astray.kind) == ("talk", "astray") and abs(talk.frames.stop - 300) <= 3 * FPS


def test_short_parts_are_left_out() -> None:
    opening = babble(FRAMES)
    gap = lips(opening)
    gap[30:300] = tremble(270)
    assert [turn.kind for turn in turns(gap, Hearing(opening, SPEECH))] == ["listen", "talk"]
    assert [turn.kind for turn in turns(gap, Hearing(opening, SPEECH), shortest=20)] == ["talk", "listen", "talk"]


def test_the_lag_is_that_of_the_stretches_in_which_the_face_speaks() -> None:
    opening = babble(FRAMES)
    gap = np.roll(lips(opening), 3)
    gap[200:] = tremble(FRAMES - 200)
    still = still_lips(gap, SPEECH)
    sync = check_sync(opening, np.where(still, np.nan, gap))
    assert sync.lag_removed == 3 and not sync.refusal and sync.r > check_sync(opening, gap).r + 0.2
    assert [turn.kind for turn in find_turns(gap, still, Hearing(opening, SPEECH), 0, 3, 38)] == ["talk", "listen"]
    assert "these lips, which are still" in check_sync(opening, np.full(FRAMES, np.nan)).refusal


@pytest.mark.parametrize("seen", [0, 24])
def test_where_too_little_is_seen_nothing_is_judged(seen: int) -> None:
    gap = np.full(50, np.nan)
    gap[:seen] = 0.02
    assert not still_lips(gap, np.ones(50, bool)).any()


def test_takes_are_parted_and_what_is_lost_is_counted() -> None:
    shot = footage(600)
    opening = babble(600)
    shot.keypoints[:, 3, 1] = -lips(opening)
    shot.keypoints[200:300, 3, 1] = -tremble(100)
    shot.keypoints[400:, 3, 1] = -lips(babble(600, seed=5))[400:]
    takes, _ = make_takes(shot, cut(shot))
    gap = np.concatenate([take.gap for take in takes])
    hearing = Hearing(opening, np.ones(600, bool))
    still = still_lips(gap, hearing.speech)
    sync = check_sync(opening, np.where(still, np.nan, gap))
    pieces, lost = take_turns(takes, gap, still, hearing, sync, 38)
    assert [kind for _, kind in pieces] == ["talk", "listen", "talk"]
    assert sum(len(take) for take, _ in pieces) + lost.total() == 600
    assert 100 < lost["lips do not go with the sound"] < 260
