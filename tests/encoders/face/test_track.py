"""Motion tracked from videos made of the example portrait, moved in known ways."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from contracts import Motion
from encoders.audio.media import AudioError
from encoders.face.headfit import euler_degrees, rotation_matrix
from encoders.face.image import load_image
from encoders.face.reel import VideoMissing, VideoUnreadable
from encoders.face.track import (
    CHANNELS,
    MOUTH,
    NECK_PIVOT,
    SKULL_CENTRE,
    NoFaceInVideo,
    TrackInfo,
    _relative,
    _smooth,
    check_faces,
    neutral_keypoints,
    repeats,
    track_video,
)
from tests.media_support import set_display_matrix

PORTRAIT = Path(__file__).resolve().parents[3] / "examples" / "portrait.jpg"
SIDE = 320
NOSE = (223, 127)  # px of the portrait


def view(degrees: float = 0, shift: tuple[float, float] = (0, 0), zoom: float = 1) -> np.ndarray:
    """The portrait's head, turned counter-clockwise on screen about the nose, shifted (px) and enlarged."""
    turn = cv2.getRotationMatrix2D(NOSE, degrees, 1.25 * zoom)
    turn[:, 2] += np.array((SIDE / 2, SIDE / 2)) - NOSE + shift
    return cv2.warpAffine(
        load_image(PORTRAIT), turn, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )


def write_video(
    path: Path, frames: Sequence[np.ndarray], *, fps: int = 25, sound: bool = False, times: Sequence[int] = (),
    options: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        if sound:
            audio = container.add_stream("aac", rate=16000, layout="mono")
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate = 16000
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
        for index, frame in zip(times or range(len(frames)), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Motion, TrackInfo, np.ndarray]:
    """A head that rolls, drifts and comes nearer in two seconds at 30 frames a second; its roll at 25 a second."""
    seconds = np.arange(60) / 30
    frames = [view(12 * np.sin(np.pi * t), (6 * np.sin(2 * np.pi * t), 0), 1 + 0.05 * (t - 1)) for t in seconds]
    path = write_video(tmp_path_factory.mktemp("track") / "moving.mp4", frames, fps=30, sound=True)
    motion, info = track_video(path)
    return motion, info, 12 * np.sin(np.pi * np.arange(50) / 25)


def test_shape_rate_and_sound(moving: tuple[Motion, TrackInfo, np.ndarray]) -> None:
    motion, info, _ = moving
    assert motion.frames.shape == (50, 70) and motion.frames.dtype == np.float32  # 60 frames at 30 a second
    assert motion.fps == 25 and motion.space == "mesh"
    assert np.isfinite(motion.frames).all()
    assert info == TrackInfo(has_audio=True, missing=0)


def test_roll_is_followed_without_lag(moving: tuple[Motion, TrackInfo, np.ndarray]) -> None:
    motion, _, roll = moving
    tracked = motion.frames[:, 69]
    assert np.abs(tracked - (roll - np.median(roll))).max() < 1.5
    lags = {lag: np.corrcoef(roll[3:-3], tracked[3 + lag : len(tracked) - 3 + lag])[0, 1] for lag in (-2, -1, 0, 1, 2)}
    assert max(lags, key=lambda lag: lags[lag]) == 0
    assert np.abs(motion.frames[:, 67:69]).max() < 6  # pitch and yaw hardly move


def test_scale_is_a_ratio_and_translation_is_of_the_neck(moving: tuple[Motion, TrackInfo, np.ndarray]) -> None:
    motion, _, _roll = moving
    scale, shift = motion.frames[:, 63], motion.frames[:, 64:67]
    assert np.median(scale) == pytest.approx(1, abs=1e-3)
    assert scale[-1] / scale[0] == pytest.approx(1.05 / 0.95, abs=0.03)
    assert (shift[:, 2] == 0).all() and np.abs(shift).max() < 0.5


def test_expression_holds_still(moving: tuple[Motion, TrackInfo, np.ndarray]) -> None:
    motion, _, _ = moving
    expression = motion.frames[:, :63].reshape(-1, 21, 3)
    assert expression.std(0).max() < 0.03
    # Her smile shows teeth: against a shut-lip neutral the lips are apart all the time.
    assert (expression[:, 2, 1] - expression[:, 3, 1]).min() > 0.05


def test_short_gaps_are_bridged_and_long_ones_held(tmp_path: Path) -> None:
    blank = np.full((SIDE, SIDE, 3), 128, np.uint8)
    frames = [view(float(k)) for k in range(30)]
    frames[5:8] = [blank] * 3
    motion, info = track_video(write_video(tmp_path / "short.mp4", frames))
    roll = motion.frames[:, 69]
    assert info.missing == 3 and info.warnings == ()
    assert np.abs(np.diff(roll)[2:26] - 1).max() < 0.6  # a degree a frame, all through the gap

    frames[12:22] = [blank] * 10
    motion, info = track_video(write_video(tmp_path / "long.mp4", frames))
    roll = motion.frames[:, 69]
    assert info.missing == 13
    assert len(info.warnings) == 1 and "no face in 13 of 30 frames" in info.warnings[0]
    assert np.ptp(roll[14:20]) < 0.1 and roll[24] - roll[17] > 8


def test_a_face_that_comes_late_is_found(tmp_path: Path) -> None:
    blank = np.full((SIDE, SIDE, 3), 128, np.uint8)
    motion, info = track_video(write_video(tmp_path / "late.mp4", [*[blank] * 10, *[view()] * 40]))
    assert len(motion) == 50 and info.missing == 10
    assert np.abs(motion.frames[:, 67:]).max() < 1


def test_dense_video_is_thinned(tmp_path: Path) -> None:
    seen: list[float] = []
    motion, _ = track_video(write_video(tmp_path / "dense.mp4", [view()] * 50, fps=100), progress=seen.append)
    assert len(motion) in (12, 13)  # half a second
    assert len(seen) <= 16 and seen == sorted(seen) and seen[-1] <= 1


def test_a_frame_rate_filled_with_repeats_does_not_stutter(tmp_path: Path) -> None:
    frames = [view(shift=(2.0 * k - 40, 0)) for k in range(40)]  # 20 a second, brought to 25
    video = write_video(tmp_path / "filled.mp4", [frames[k * 4 // 5] for k in range(50)])
    steps = np.diff(track_video(video)[0].frames[5:-5, 64])
    assert steps.min() > 0.4 * np.median(steps), "it never stops"
    assert steps.max() < 1.5 * np.median(steps), "nor does it jump"


def test_repeats_are_told_from_a_moment_of_rest() -> None:
    filled = np.tile([5.0, 4.0, 6.0, 0.2, 5.0], 20)
    assert (np.flatnonzero(repeats(filled)) == np.arange(3, 100, 5)).all()
    assert not repeats(np.full(100, 0.3)).any(), "of a still picture each is as new as the next"
    rests = np.full(100, 4.0)
    rests[[30, 70]] = 0.2
    assert not repeats(rests).any(), "lids that stay shut for a frame"


def test_jitter_goes_and_sudden_moves_stay() -> None:
    jitter = np.random.default_rng(0).normal(0, 0.001, (100, CHANNELS))  # OC; that of a calm face
    jitter[:, 66] += 100
    tracks = jitter.copy()
    tracks[50:52, 36] -= 0.08  # a lid, for two frames
    smooth = _smooth(tracks)
    assert smooth[50:52, 36].max() < -0.07
    calm = np.r_[5:40, 60:95]
    rough = np.abs(np.diff(jitter[calm, :63], 2, axis=0)).mean()
    assert np.abs(np.diff(smooth[calm, :63], 2, axis=0)).mean() < 0.4 * rough


def test_progress_may_stop_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "stop.mp4", [view()] * 10)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_video(path, progress=stop)


def test_a_video_that_does_not_state_its_length_can_be_stopped(tmp_path: Path) -> None:
    seen: list[float] = []
    frames = [view()] * 5
    track_video(write_video(tmp_path / "live.mkv", frames, options={"live": "1"}), progress=seen.append)
    assert seen == [0.0] * 5


def test_a_broken_clock_is_refused(tmp_path: Path) -> None:
    """Motion as long as the clock says would fill the memory."""
    blank = np.full((SIDE, SIDE, 3), 128, np.uint8)
    path = write_video(tmp_path / "jump.mp4", [blank] * 4, times=[0, 1, 2, 20_000 * 25])
    with pytest.raises(VideoUnreadable, match=r"no picture from second 0\.1 to 20000\.0"):
        track_video(path)


def test_sound_that_cannot_be_decoded_is_told_before_the_tracking(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mkv", [view()] * 3, sound=True)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A_AAC", b"A_XYZ"))

    def tracked(share: float) -> None:
        pytest.fail("it is tracked already")

    with pytest.raises(AudioError):
        track_video(path, progress=tracked)


def test_video_turned_by_its_metadata(tmp_path: Path) -> None:
    """Phones store pictures lying down, with a matrix in the track header that stands them up."""
    lying = [np.ascontiguousarray(np.rot90(view(0.5 * k), 1)) for k in range(10)]
    path = write_video(tmp_path / "phone.mp4", lying)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and id, reserved to volume
    one = 1 << 16
    clockwise = (0, one, 0, -one & 0xFFFFFFFF, 0, 0, SIDE * one, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big") for value in clockwise)
    path.write_bytes(data)
    motion, info = track_video(path)
    assert info.missing == 0
    assert motion.frames[-1, 69] - motion.frames[0, 69] == pytest.approx(4.5, abs=1)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x18ftypmp42"])
def test_unreadable_videos(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.mp4").write_bytes(content)
    with pytest.raises(VideoUnreadable, match=r"odd\.mp4 cannot be read") as refusal:
        track_video(tmp_path / "odd.mp4")
    assert "\n" not in str(refusal.value)


def test_videos_that_do_not_serve(tmp_path: Path) -> None:
    with pytest.raises(VideoMissing, match="there is no video"):
        track_video(tmp_path / "absent.mp4")
    with pytest.raises(VideoMissing, match="is a folder"):
        track_video(tmp_path)
    with pytest.raises(VideoUnreadable, match="still picture"):
        track_video(PORTRAIT)
    with pytest.raises(VideoUnreadable, match="no picture in it"):
        track_video(PORTRAIT.with_name("voice_en.wav"))
    blank = [np.full((SIDE, SIDE, 3), 128, np.uint8)] * 10
    with pytest.raises(NoFaceInVideo, match="no face was found"):
        track_video(write_video(tmp_path / "blank.mp4", blank))


def test_a_damaged_end_is_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mkv", [view(float(k)) for k in range(40)])
    (tmp_path / "half.mkv").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    motion, _ = track_video(tmp_path / "half.mkv")
    assert 10 < len(motion) < 35


def test_pose_is_what_turns_the_median_pose() -> None:
    median, delta = (10.0, 20.0, 5.0), (4.0, -12.0, 3.0)
    turned = euler_degrees(rotation_matrix(*delta) @ rotation_matrix(*median))
    tracks = np.zeros((101, CHANNELS))
    tracks[:, 63:66], tracks[:, 66] = median, 100
    tracks[60:90, 63:66] = turned
    frames = _relative(tracks, np.zeros(101, bool))
    np.testing.assert_allclose(frames[[0, 50, 100], 67:], 0, atol=1e-4)
    np.testing.assert_allclose(frames[75, 67:], delta, atol=1e-4)


def test_a_scale_that_jitters_does_not_bob_the_face() -> None:
    tracks = np.zeros((100, CHANNELS))
    tracks[:, 66] = 100 + 3 * np.sin(np.arange(100) * 2)  # px per OC, as where the mouth leaks into it
    tracks[:, 67:69] = 250, -250
    frames = _relative(tracks, np.zeros(100, bool))
    face = frames[:, 64:66] + frames[:, 63:64] * (SKULL_CENTRE - NECK_PIVOT)[:2]
    assert np.ptp(face, axis=0).max() < 1e-5


def test_a_head_that_is_never_near_its_median_pose() -> None:
    tracks = np.zeros((20, CHANNELS))
    tracks[:, 64], tracks[:, 66] = np.where(np.arange(20) < 10, -30, 30), 100
    assert np.isfinite(_relative(tracks, np.zeros(20, bool))).all()


def test_neutral_is_shut_and_open_eyed() -> None:
    rng = np.random.default_rng(0)
    keypoints = np.zeros((100, 21, 3))
    keypoints[:, 3, 1] = -np.abs(np.sin(np.arange(100) / 5)) * 0.2  # lower lip: speaking
    keypoints[:, 8, 1] = keypoints[:, 3, 1] / 2  # chin goes along
    blink = (np.arange(100) % 10 < 3).astype(float)
    keypoints[:, 11, 1] = -0.1 * blink + rng.normal(0, 1e-4, 100)  # upper lid
    neutral = neutral_keypoints(keypoints, blink)
    assert np.abs(neutral).max() < 6e-3
    keypoints[:, 3, 1] -= 0.1  # now the lips never meet
    neutral = neutral_keypoints(keypoints, blink)
    assert neutral[2, 1] - neutral[3, 1] == pytest.approx(0.004)
    assert np.abs(neutral[MOUTH:]).max() < 1e-3


@pytest.mark.parametrize("count", [2, 3, 5, 20, 50])
def test_neutral_of_a_mouth_that_is_never_quite_shut(count: int) -> None:
    """Of few frames, or of a mouth that is shut for an instant, none is near the third percentile."""
    keypoints = np.zeros((count, 21, 3))
    keypoints[:, 3, 1] = -0.3
    keypoints[0, 3, 1] = -0.05
    neutral = neutral_keypoints(keypoints, np.zeros(count))
    assert np.isfinite(neutral).all()
    assert neutral[2, 1] - neutral[3, 1] == pytest.approx(0.004)


@pytest.mark.parametrize("count", [2, 4])
def test_a_clip_of_a_few_frames(tmp_path: Path, count: int) -> None:
    motion, _ = track_video(write_video(tmp_path / "short.mp4", [view(2.0 * k) for k in range(count)]))
    assert len(motion) == count and np.isfinite(motion.frames).all()


def test_what_is_not_found_is_told_and_most_of_it_refused() -> None:
    path = Path("film.mp4")
    assert check_faces(path, np.arange(40) % 10 == 0) == []
    (remark,) = check_faces(path, np.arange(40) % 2 == 0)
    assert remark == "no face in 20 of 40 frames: the motion is bridged there"
    with pytest.raises(NoFaceInVideo, match=r"film\.mp4: no face in 48 of 50 frames; use a video"):
        check_faces(path, np.arange(50) > 1)


def test_a_mirror_matrix_mirrors_the_motion_back(tmp_path: Path) -> None:
    """Front cameras store the mirror image, with a matrix that undoes it."""
    path = write_video(tmp_path / "selfie.mp4", [view(0.8 * k)[:, ::-1] for k in range(10)])
    motion, info = track_video(set_display_matrix(path, -1, 0, 0, 1))
    assert info.missing == 0
    assert motion.frames[-1, 69] - motion.frames[0, 69] == pytest.approx(7.2, abs=1)


def test_an_empty_sound_track_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "muted.mkv"
    with av.open(str(path), "w") as container:
        video, _ = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=16000)
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        for _ in range(4):
            container.mux(video.encode(av.VideoFrame.from_ndarray(view(), "rgb24")))
        container.mux(video.encode(None))
    _, info = track_video(path)
    assert info == TrackInfo(has_audio=False, missing=0, warnings=("the sound track is empty: there is no sound",))
