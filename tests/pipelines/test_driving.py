"""LivePortrait's own job with toy networks: the motion of a filmed face carried over to portraits, saved, replayed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from contracts import FPS, SAMPLE_RATE, Driving, Motion, Region
from encoders.audio.media import load_audio
from encoders.face.footage import follow
from encoders.face.portrait import encode_face
from encoders.face.reel import VideoUnreadable
from encoders.face.track import NoFaceInVideo, TrackInfo
from moda.motion.layout import EXPRESSION, ROTATION, SCALE, TRANSLATION, MotionError
from moda.motion.layout import EYE_KEYPOINTS as EYES
from moda.motion.layout import LIP_KEYPOINTS as LIPS
from moda.motion.saved import load_motion, save_motion
from moda.render import RenderError
from moda.render.liveportrait import LivePortrait, LivePortraitRenderer
from moda.render.liveportrait.crop import SIZE, cut, film_square, film_to_crop, openings
from moda.render.liveportrait.driving import carry_over
from moda.render.liveportrait.keypoints import KeypointMotion, place, retarget, spoken_keypoints, told_keypoints
from pipelines.cli.main import app
from pipelines.drive import drive_portrait
from pipelines.driving import _bridge, cast, watch_face
from pipelines.film.files import InputError
from pipelines.film.video import open_video
from tests.media_support import PORTRAIT, files, read_frames, tone, write_video, write_wav
from tests.moda.render.test_liveportrait_renderer import networks, source

if TYPE_CHECKING:
    from contracts import Array, SourceFace

    Seen = tuple[Array, Array, TrackInfo]

FRAMES = 8
OWN = np.array([0.3, 0.31, 0.1])  # openings of the portrait


@pytest.fixture(scope="module")
def nets() -> LivePortrait:
    return networks()


def filmed(seed: int = 1, frames: int = 5) -> Tensor:
    """Motion of a filmed face, [T, 70]."""
    steps = torch.randn(frames, 70, generator=torch.Generator().manual_seed(seed)).cumsum(0)
    steps[:, :67] *= 0.1
    return source(seed).rows + steps


# ---- carried over --------------------------------------------------------------------------------------------------


def test_relative_motion_adds_what_changes_to_the_portrait(nets: LivePortrait) -> None:
    mine, rows = source(), filmed()
    moved = told_keypoints(mine, carry_over(nets, mine, OWN, rows, Driving()))
    film = KeypointMotion.of_rows(mine.canonical, rows)
    expected = place(
        mine.canonical,
        film.rotation @ torch.linalg.inv(film.rotation[:1]) @ mine.rotation,
        mine.expression + film.expression - film.expression[:1],
        mine.scale * film.scale / film.scale[:1],
        mine.translation + film.translation - film.translation[:1],
    )
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[:1], mine.keypoints, rtol=0, atol=1e-5)
    assert (moved[1:] - moved[:1]).abs().amax((1, 2)).min() > 0.05


def test_absolute_motion_is_taken_over_as_generated_motion_is(nets: LivePortrait) -> None:
    mine, rows = source(), filmed()
    moved = told_keypoints(mine, carry_over(nets, mine, OWN, rows, Driving(relative=False)))
    torch.testing.assert_close(moved, spoken_keypoints(mine, rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("region", get_args(Region))
def test_a_region_moves_alone(nets: LivePortrait, region: Region, relative: bool) -> None:
    mine, rows = source(), filmed()
    moved = carry_over(nets, mine, OWN, rows, Driving(relative, region)) - mine.rows
    assert moved.shape == (5, 70)
    moves = moved.abs().amax(0) > 1e-3
    expression = moves[EXPRESSION].view(21, 3).any(1)
    pose = region in ("all", "pose")
    assert moves[ROTATION].all() == moves[TRANSLATION].all() == pose
    assert moves[ROTATION].any() == moves[TRANSLATION].any() == pose
    assert moves[SCALE].all() == (relative and region == "all")
    keypoints = set(expression.nonzero().flatten().tolist())
    everything = set(range(21)) - (set() if relative else {0, 7, 10})
    expected = {"pose": set(), "lips": set(LIPS), "eyes": set(EYES)}
    assert keypoints == expected.get(region, everything)


def test_retargeting_opens_eyes_and_lips_as_the_networks_say(nets: LivePortrait) -> None:
    """With nothing else that moves, it is what the published pipeline does."""
    mine, rows = source(), filmed()
    eyes, lips = np.linspace(0, 0.4, 5, dtype=np.float32), np.linspace(0.5, 0, 5, dtype=np.float32)
    delta = torch.stack(
        [
            retarget(nets.eyes, mine.keypoints, torch.tensor([[0.3, 0.31, float(e)]]))[0]
            + retarget(nets.lips, mine.keypoints, torch.tensor([[0.1, float(m)]]))[0]
            for e, m in zip(eyes, lips, strict=True)
        ]
    )
    assert delta.abs().max() > 0.01
    still = carry_over(nets, mine, OWN, rows[:1].repeat(5, 1), Driving(eyes=eyes, lips=lips))
    torch.testing.assert_close(told_keypoints(mine, still), mine.keypoints + delta, rtol=0, atol=1e-5)

    taken = Driving(relative=False, eyes=eyes, lips=lips)
    absolute = told_keypoints(mine, carry_over(nets, mine, OWN, rows, taken))
    torch.testing.assert_close(absolute, spoken_keypoints(mine, rows) + delta, rtol=0, atol=1e-5)

    both = told_keypoints(mine, carry_over(nets, mine, OWN, rows, Driving(eyes=eyes, lips=lips)))
    plain = rows.clone()  # the driving face's own eyes and lips do not move
    plain[:, EXPRESSION].view(-1, 21, 3)[:, [*EYES, *LIPS]] = rows[:1, EXPRESSION].view(1, 21, 3)[:, [*EYES, *LIPS]]
    expected = told_keypoints(mine, carry_over(nets, mine, OWN, plain, Driving())) + delta
    torch.testing.assert_close(both, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("how", [Driving(), Driving(relative=False), Driving(region="pose")])
def test_nothing_of_the_future_is_needed(nets: LivePortrait, how: Driving) -> None:
    mine, rows = source(), filmed()
    whole, start = (carry_over(nets, mine, OWN, part, how) for part in (rows, rows[:2]))
    torch.testing.assert_close(whole[:2], start, rtol=0, atol=1e-6)


# ---- saved ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [None, Driving(), Driving(False, "lips", lips=np.arange(5, dtype=np.float32))])
def test_a_saved_motion_knows_how_it_drives(tmp_path: Path, how: Driving | None) -> None:
    save_motion(tmp_path / "m.npz", Motion(filmed().numpy(), "liveportrait", driving=how))
    again = load_motion(tmp_path / "m.npz").driving
    assert (again is None) == (how is None)
    if how is not None and again is not None:
        assert (again.relative, again.region, again.eyes) == (how.relative, how.region, None)
        np.testing.assert_array_equal(again.lips, how.lips)


@pytest.mark.parametrize(
    "damage", [{"driving.region": "nose"}, {"driving.eyes": np.zeros(4)}, {"driving.lips": np.full(5, np.nan)}]
)
def test_a_damaged_driving_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    save_motion(tmp_path / "m.npz", Motion(filmed().numpy(), "liveportrait", driving=Driving()))
    with np.load(tmp_path / "m.npz") as file:
        np.savez(tmp_path / "m.npz", **(dict(file) | damage))
    with pytest.raises(MotionError, match="not a moda motion file"):
        load_motion(tmp_path / "m.npz")


# ---- from a video --------------------------------------------------------------------------------------------------


def film(
    path: Path, sound: Path | None = None, frames: int = FRAMES, gap: range = range(0), again: int | None = None
) -> Path:
    """The bundled portrait, which drifts to the right and grows; black where ``gap`` says so, and as it was before at
    frame ``again``."""
    picture = cv2.cvtColor(cv2.imread(str(PORTRAIT)), cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, (320, 320 * picture.shape[0] // picture.shape[1] // 2 * 2))
    height, width = picture.shape[:2]
    with open_video(path, sound, 0.0, None, (0, 0)) as video:
        for tick in range(frames):
            step = tick - (tick == again)
            place = np.float32([[1 + 0.01 * step, 0, 2 * step], [0, 1 + 0.01 * step, 0]])
            moved = cv2.warpAffine(picture, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
            video.write(np.zeros_like(moved) if tick in gap else moved)
        video.finish()
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return film(folder / "film.mp4", write_wav(folder / "voice.wav", tone(FRAMES / FPS, SAMPLE_RATE)))


@pytest.fixture(scope="module")
def seen(driver: Path, nets: LivePortrait) -> Seen:
    return watch_face(LivePortraitRenderer(nets, batch=5), driver, progress=lambda _: None)


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return encode_face(PORTRAIT)


@pytest.fixture
def quick(seen: Seen, face: SourceFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen in portrait and film is known already."""

    def watch(_renderer: Any, _path: Path, *, progress: Any) -> Seen:
        progress(1.0)
        return seen

    monkeypatch.setattr("pipelines.drive.watch_face", watch)
    monkeypatch.setattr("pipelines.drive.encode_face", lambda *_, **__: face)


@pytest.fixture
def toy(nets: LivePortrait, monkeypatch: pytest.MonkeyPatch) -> LivePortraitRenderer:
    """The renderer that pipelines get by the name of ``liveportrait``."""
    from pipelines.weights import models

    renderer = LivePortraitRenderer(nets, batch=5)
    load = models.load_renderer
    monkeypatch.setattr("pipelines.weights.names.find_weights", lambda name: Path(name))  # as if they were here
    monkeypatch.setattr("pipelines.drive.load_renderer", lambda name, device: (
        renderer if name == "liveportrait" else load(name, device)
    ))  # fmt: skip
    return renderer


def run(steps: Any) -> list[str]:
    """All that a pipeline warned of."""
    return [warning for step in steps for warning in step.warnings]


def test_a_filmed_face_is_seen_as_the_networks_see_it(driver: Path, nets: LivePortrait, seen: Seen) -> None:
    """Against all pictures in memory at once, found, cut and looked at."""
    pictures = read_frames(driver)
    points = [p for p in follow(pictures) if p is not None]
    assert len(points) == FRAMES
    matrix = film_to_crop(np.stack([film_square(p) for p in points]))
    crops = torch.from_numpy(np.stack([cut(picture, matrix) for picture in pictures]))
    with torch.inference_mode():
        expected = KeypointMotion.of(nets.motion(crops.permute(0, 3, 1, 2) / 255)).rows

    rows, opened, info = seen
    assert rows.shape == (FRAMES, 70)
    np.testing.assert_allclose(rows, expected, atol=2e-3)  # degrees, most of all
    assert np.abs(np.diff(rows, axis=0)).max() > 0.05
    np.testing.assert_allclose(opened, [openings(p) for p in points], atol=1e-5)
    assert info == TrackInfo(has_audio=True, missing=0)


def test_frames_without_a_face_are_bridged_or_held(tmp_path: Path, nets: LivePortrait) -> None:
    renderer = LivePortraitRenderer(nets)
    short, opened, info = watch_face(renderer, film(tmp_path / "short.mp4", gap=range(4, 6)), progress=lambda _: None)
    assert info.missing == 2
    assert info.warnings == ()
    np.testing.assert_allclose(short[4:6], [(2 * short[3] + short[6]) / 3, (short[3] + 2 * short[6]) / 3], atol=1e-4)
    assert np.isfinite(opened).all()
    long, _, info = watch_face(renderer, film(tmp_path / "long.mp4", gap=range(5)), progress=lambda _: None)
    assert info.warnings == ("no face in 5 of 8 frames: the motion is held there",)
    assert (long[:5] == long[5]).all()


def test_a_repeated_picture_does_not_stop_the_motion(tmp_path: Path, nets: LivePortrait, seen: Seen) -> None:
    renderer = LivePortraitRenderer(nets, batch=5)
    rows, opened, info = watch_face(renderer, film(tmp_path / "again.mp4", again=4), progress=lambda _: None)
    assert info.missing == 0
    np.testing.assert_allclose(rows[4], (rows[3] + rows[5]) / 2, atol=1e-4)
    np.testing.assert_allclose(opened[4], (opened[3] + opened[5]) / 2, atol=1e-4)
    np.testing.assert_array_less(1e-3, np.abs(rows[4] - rows[3]).max())


def test_a_repeated_picture_counts_where_the_one_before_shows_no_face() -> None:
    tracks = np.arange(6, dtype=np.float32)[:, None] ** 2
    missing, repeated = np.array([1, 1, 1, 0, 1, 1], bool), np.array([0, 0, 0, 1, 0, 0], bool)
    np.testing.assert_array_equal(_bridge(tracks, missing, repeated), np.full((6, 1), 9))
    np.testing.assert_array_equal(_bridge(tracks, np.zeros(6, bool), repeated)[3], 10)  # between 4 and 16


def test_no_more_than_a_batch_is_looked_at_at_once_and_progress_is_told(
    driver: Path, nets: LivePortrait, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer, batches, told = LivePortraitRenderer(nets, batch=3), [], []
    look = renderer.look
    monkeypatch.setattr(renderer, "look", lambda crops: batches.append(crops.shape) or look(crops))
    rows, _, _ = watch_face(renderer, driver, progress=told.append)
    np.testing.assert_allclose(rows, seen[0], atol=1e-4)
    assert batches == [(3, SIZE, SIZE, 3), (3, SIZE, SIZE, 3), (2, SIZE, SIZE, 3)]
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) == 2 * FRAMES


def test_a_portrait_is_driven_and_the_motion_drives_another(
    tmp_path: Path, driver: Path, toy: LivePortraitRenderer, seen: Seen, face: SourceFace, quick: None
) -> None:
    out, kept = tmp_path / "out.mp4", tmp_path / "kept.npz"
    steps = list(
        drive_portrait(
            PORTRAIT, driver, out, size=256, save_motion=kept, renderer="liveportrait", retarget="lips", device="cpu"
        )
    )
    assert [step.done for step in steps if step.stage == "video"] == list(range(1, FRAMES + 1))
    assert len(load_audio(out)) == round(FRAMES / FPS * SAMPLE_RATE)
    assert files(tmp_path) == {"out.mp4", "kept.npz"}

    rows, opened, _ = seen
    motion = load_motion(kept)
    np.testing.assert_array_equal(motion.frames, rows)
    assert motion.driving is not None
    assert (motion.driving.relative, motion.driving.region, motion.driving.eyes) == (True, "all", None)
    np.testing.assert_array_equal(motion.driving.lips, opened[:, 2])

    drawn = [step.frame for step in steps if step.stage == "video"]
    np.testing.assert_array_equal(drawn, played(toy, face, motion))
    other = replace(face, image=np.ascontiguousarray(face.image[::-1, ::-1]))  # of other keypoints
    again = played(toy, other, motion)
    mine = toy.motion_of(other)
    still = played(toy, other, Motion(mine.rows.numpy(), "liveportrait", driving=Driving(False)))
    first = played(toy, other, replace(motion, driving=Driving()))[0]
    assert np.abs(first.astype(int) - still[0]).max() <= 1, "relative motion starts from the portrait"
    assert np.abs(again[-1].astype(int) - first).max() > 10


def played(renderer: LivePortraitRenderer, face: Any, motion: Motion) -> Array:
    ready, frames = cast(renderer, face, motion)
    return np.stack(list(ready.render(ready.prepare(face, 256), frames)))


def test_motion_that_is_a_portraits_already_is_played_as_it_is(toy: LivePortraitRenderer, face: SourceFace) -> None:
    motion = Motion(filmed().numpy(), "liveportrait")
    ready, frames = cast(toy, face, motion)
    assert ready is toy
    assert frames is motion.frames


# ---- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"relative": False}, "add --renderer liveportrait"),
        ({"region": "lips"}, "add --renderer liveportrait"),
        ({"retarget": "eyes"}, "add --renderer liveportrait"),
        ({"region": "nose"}, "there is no --region nose"),
        ({"retarget": "ears"}, "there is no --retarget ears"),
        ({"renderer": "liveportrait", "background": "follow"}, "use --renderer mesh"),
        ({"renderer": "marble"}, "there is no renderer 'marble'"),
    ],
)
def test_options_of_the_other_renderer_are_refused_before_anything_is_read(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(RenderError, match=says):
        next(drive_portrait(PORTRAIT, tmp_path / "nothing.mp4", tmp_path / "out.mp4", **options))


def test_a_bad_driving_video_leaves_nothing(tmp_path: Path, toy: LivePortraitRenderer) -> None:
    still = film(tmp_path / "still.mp4", frames=1)
    black = write_video(tmp_path / "black.mp4")
    for video, kind in ((tmp_path / "none.mp4", InputError), (black, NoFaceInVideo), (still, VideoUnreadable),
                        (PORTRAIT, VideoUnreadable)):  # fmt: skip
        with pytest.raises(kind):
            run(drive_portrait(PORTRAIT, video, tmp_path / "out.mp4", renderer="liveportrait"))
    assert files(tmp_path) == {"black.mp4", "still.mp4"}


def test_closing_leaves_nothing(tmp_path: Path, driver: Path, toy: LivePortraitRenderer, quick: None) -> None:
    for stage in ("track", "video"):
        steps = drive_portrait(
            PORTRAIT, driver, tmp_path / "out.mp4", size=256, renderer="liveportrait", save_motion=tmp_path / "m.npz"
        )
        next(step for step in steps if step.stage == stage)
        steps.close()  # type: ignore[attr-defined]
        assert files(tmp_path) == set()


def test_motion_that_cannot_be_kept_is_named_before_it_is_filmed(
    tmp_path: Path, driver: Path, toy: LivePortraitRenderer, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moda.motion.saved.np.savez_compressed", full)
    steps = drive_portrait(
        PORTRAIT, driver, tmp_path / "out.mp4", renderer="liveportrait", save_motion=tmp_path / "m.npz"
    )
    with pytest.raises(MotionError, match=r"cannot write \S*/m\.npz \(No space"):
        for step in steps:
            assert step.stage != "video"
    assert files(tmp_path) == set()


def test_the_command_line_drives_with_liveportrait(tmp_path: Path, driver: Path, toy: LivePortraitRenderer) -> None:
    given = ["drive", str(PORTRAIT), str(driver), "-o", str(tmp_path / "out.mp4"), "--size", "256"]
    kept = tmp_path / "m.npz"
    result = CliRunner().invoke(
        app, [*given, "--renderer", "liveportrait", "--absolute", "--region", "expression", "--retarget", "eyes",
              "--save-motion", str(kept)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    driving = load_motion(kept).driving
    assert driving is not None
    assert (driving.relative, driving.region, driving.lips) == (False, "expression", None)
    assert driving.eyes is not None
    result = CliRunner().invoke(app, [*given, "--retarget", "both"])
    assert result.exit_code == 1
    assert "add --renderer liveportrait" in result.output
