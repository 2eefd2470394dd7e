"""What a generator has to beat: other ways from sound to the mouth, fitted on the same training clips.

Each is a function that takes the training recordings and returns a predictor, recording -> motion [T, 70] in units of
space ``mesh``; channels that it says nothing about stay at zero. Regressions all, with no chance in them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from contracts import FPS, MOTION_DIM, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioFeatures
from encoders.audio import VISEME_INDEX, AudioEncoder, PhoneReader, Phonetics, Segment, levels, phone_visemes
from moda.motion import LOWER_LIP_Y, UPPER_LIP_Y, lip_gap
from pipelines.evaluation.metrics import NAMED_CHANNELS
from pipelines.training import (
    VARIANTS,
    Clip,
    TcnConfig,
    TcnExample,
    mel_features,
    phone_rows,
    retake,
    speaker_weights,
    teacher_examples,
    teacher_features,
    train_tcn,
)

REACH = 6  # frames, 240 ms: what the ridge hears on either side
RIDGE = 0.3  # penalty, in units of the mean variance of what is heard
PIECE = 8 * FPS  # frames that the phone reader is given at once; its aligner takes the square of the length
RULES_CLIPS = 24  # training clips that the gain of the rules is fitted on: it is one number


class Recording:
    """A clip with what has been computed from its sound, each once."""

    def __init__(self, clip: Clip, listener: AudioEncoder, lookahead: int | None = None) -> None:
        """lookahead: frames that the encoder hears beyond each, all without."""
        self.clip, self.listener, self.lookahead = clip, listener, lookahead

    @cached_property
    def features(self) -> list[AudioFeatures]:
        return list(self.listener.stream(self.clip.waveform, lookahead=self.lookahead))

    @cached_property
    def tokens(self) -> torch.Tensor:
        """[T, A]"""
        return torch.cat([self.listener.tokens(features) for features in self.features])

    @property
    def cues(self) -> tuple[np.ndarray, np.ndarray]:
        """Posteriors of silence and of a bilabial, [T] each."""
        visemes = torch.cat([features.visemes for features in self.features if features.visemes is not None]).numpy()
        return visemes[:, VISEME_INDEX["sil"]], visemes[:, VISEME_INDEX["PP"]]

    @cached_property
    def mel(self) -> torch.Tensor:
        """[T, 160]: four log-mel spectra a frame."""
        return mel_features(self.clip.waveform)

    @cached_property
    def level(self) -> np.ndarray:
        """[T], 0 faint, 1 loud."""
        return levels(self.clip.waveform)


Predictor = Callable[[Recording], np.ndarray]


def loudness(training: list[Recording]) -> Predictor:
    """Inner-lip gap = a line through the smoothed log energy."""

    def smooth(recording: Recording) -> np.ndarray:
        return gaussian_filter1d(recording.level, 1.5)

    heard = np.concatenate([smooth(recording)[recording.clip.valid] for recording in training])
    slope, offset = np.polyfit(heard, _gaps(training), 1)
    return lambda recording: _motion(np.zeros((len(recording.clip), 63)), slope * smooth(recording) + offset)


def articulation(training: list[Recording]) -> Predictor:
    """The audio encoder's own track, brought back to units with the mean and spread of the training clips."""
    tracks = np.concatenate([recording.clip.articulation[recording.clip.valid] for recording in training])
    mean, std = tracks.mean(0), tracks.std(0)

    def predict(recording: Recording) -> np.ndarray:
        parts = [features.articulation for features in recording.features if features.articulation is not None]
        track = torch.cat(parts).numpy() * std + mean
        return _motion(track[:, :-1], track[:, -1])

    return predict


def ridge(training: list[Recording]) -> Predictor:
    """63 channels = a linear map of the log-mel spectra (two a frame) from REACH frames before to REACH after."""

    def context(recording: Recording) -> np.ndarray:
        mel = recording.mel.unflatten(1, (2, 2, -1)).mean(2).flatten(1).numpy()  # [T, 80]
        padded = np.pad(mel, ((REACH, REACH), (0, 0)), mode="edge")
        return np.concatenate([padded[i : i + len(mel)] for i in range(2 * REACH + 1)], axis=1)  # [T, 13 * 80]

    width = 1 + context(training[0]).shape[1]
    products, sums = np.zeros((width, width)), np.zeros((width, 63))
    for recording in training:  # what a least-squares fit needs, clip by clip: all at once is too much memory
        heard = context(recording)[recording.clip.valid].astype(np.float64)
        heard = np.column_stack([np.ones(len(heard)), heard])
        products += heard.T @ heard
        sums += heard.T @ recording.clip.motion[recording.clip.valid, :63]
    count, mean, wanted = products[0, 0], products[0, 1:] / products[0, 0], sums[0] / products[0, 0]
    covariance = products[1:, 1:] / count - np.outer(mean, mean)
    penalty = RIDGE * np.trace(covariance) / len(mean)
    weights = np.linalg.solve(covariance + penalty * np.eye(len(mean)), sums[1:] / count - np.outer(mean, wanted))

    def predict(recording: Recording) -> np.ndarray:
        track = (context(recording) - mean) @ weights + wanted
        return _motion(track, track[:, UPPER_LIP_Y] - track[:, LOWER_LIP_Y])

    return predict


def tcn_from_mel(training: list[Recording], config: TcnConfig) -> Predictor:
    """A small temporal convolutional network that hears log-mel spectra."""
    return _tcn(training, config, lambda _, waveform: mel_features(waveform), lambda recording: recording.mel)


def tcn_from_tokens(training: list[Recording], config: TcnConfig) -> Predictor:
    """The same network behind the same audio encoder as the generator."""
    return _tcn(training, config, AudioEncoder.hear, lambda recording: recording.tokens)


def tcn_from_phones(training: list[Recording], config: TcnConfig) -> Predictor:
    """The same network behind log-mel spectra and a phone recogniser's posteriors: what phonetic knowledge is worth.
    Raises TeacherError."""
    reader = PhoneReader()
    rows = {recording.clip.name: phone_rows(reader, recording.clip.waveform) for recording in training}
    phonetics = Phonetics.fit(np.concatenate(list(rows.values())), reader.phones)
    phones = {name: phonetics(found) for name, found in rows.items()}
    clips = [recording.clip for recording in training]
    network = train_tcn(teacher_examples(clips, phones, np.random.default_rng(config.seed)), config)

    def predict(recording: Recording) -> np.ndarray:
        waveform = recording.clip.waveform
        track = network.predict(teacher_features(waveform, phonetics(phone_rows(reader, waveform))))
        return _motion(track[:, :-1], track[:, -1])

    return predict


def _tcn(
    training: list[Recording], config: TcnConfig, hear: Callable[[AudioEncoder, np.ndarray], torch.Tensor],
    heard: Callable[[Recording], torch.Tensor],
) -> Predictor:  # fmt: skip
    rng = np.random.default_rng(config.seed)
    weights = speaker_weights([recording.clip for recording in training])
    examples = []
    for _ in range(VARIANTS):
        for recording, weight in zip(training, weights, strict=True):
            take = retake(recording.clip, rng)
            track = take.track(np.column_stack([recording.clip.motion[:, :63], lip_gap(recording.clip.motion)]))
            features = hear(recording.listener, take.waveform).half()
            examples.append(TcnExample(features, torch.from_numpy(track), torch.from_numpy(take.valid), weight))
    network = train_tcn(examples, config)

    def predict(recording: Recording) -> np.ndarray:
        track = network.predict(heard(recording))
        return _motion(track[:, :-1], track[:, -1])

    return predict


# Viseme -> jaw opening, lips brought together, rounding, spreading, lips drawn apart; then how strongly the jaw and the
# lips insist (alpha), and how fast that fades before and after the phone, per ms (theta). Shape figures follow common
# practice for these visemes in ARKit's terms; blending is that of Cohen and Massaro 1993, "Modeling coarticulation in
# synthetic visual speech".
_RULES = {
    "sil": (0.02, 0.02, 0.00, 0.00, 0.00, 0.50, 0.50, 0.020, 0.020),
    "PP": (0.12, 0.14, 0.05, 0.00, 0.00, 0.60, 3.00, 0.030, 0.030),
    "FF": (0.08, 0.00, 0.00, 0.08, 0.22, 0.70, 2.50, 0.028, 0.028),
    "TH": (0.18, 0.00, 0.00, 0.06, 0.34, 0.60, 0.30, 0.022, 0.022),
    "DD": (0.16, 0.00, 0.00, 0.08, 0.32, 0.45, 0.12, 0.022, 0.022),
    "nn": (0.14, 0.00, 0.00, 0.05, 0.24, 0.40, 0.12, 0.022, 0.022),
    "kk": (0.20, 0.00, 0.00, 0.05, 0.26, 0.35, 0.08, 0.020, 0.020),
    "CH": (0.12, 0.00, 0.65, 0.00, 0.37, 0.90, 1.60, 0.016, 0.018),
    "SS": (0.06, 0.00, 0.00, 0.34, 0.42, 1.10, 0.50, 0.022, 0.022),
    "RR": (0.16, 0.00, 0.55, 0.00, 0.19, 0.50, 0.80, 0.014, 0.016),
    "aa": (0.60, 0.00, 0.00, 0.05, 0.50, 1.30, 0.35, 0.013, 0.015),
    "E": (0.35, 0.00, 0.00, 0.40, 0.44, 1.10, 0.35, 0.013, 0.015),
    "I": (0.18, 0.00, 0.00, 0.58, 0.34, 0.90, 0.40, 0.013, 0.015),
    "O": (0.40, 0.00, 0.80, 0.00, 0.18, 1.00, 1.30, 0.010, 0.014),
    "U": (0.18, 0.00, 1.00, 0.00, 0.06, 0.70, 1.60, 0.009, 0.014),
}
_LEAD = 0.03  # s that the mouth is ahead of the sound


def viseme_rules(training: list[Recording], reader: PhoneReader | None = None) -> Predictor:
    """Hand-made mouth shapes on recognised phones; only the gain of the mouth is fitted. Raises TeacherError."""
    reader = reader or PhoneReader()

    def shapes(recording: Recording) -> np.ndarray:
        return dominance(read_phones(reader, recording.clip.waveform), len(recording.clip))

    wide = sorted(training, key=lambda recording: len(recording.clip))[len(training) // 2 :][:RULES_CLIPS]
    drawn = np.concatenate([_rule_gap(shapes(recording))[recording.clip.valid] for recording in wide])
    gain = float(drawn @ _gaps(wide) / (drawn @ drawn))  # through zero: a seal stays a seal

    def predict(recording: Recording) -> np.ndarray:
        shape = shapes(recording)
        jaw, close, rounding, spread, _ = shape.T
        track = np.zeros((len(shape), 63))
        (right,), (left,) = NAMED_CHANNELS["width"]
        track[:, right] = 0.06 * (spread - rounding)
        track[:, left] = -track[:, right]
        track[:, NAMED_CHANNELS["jaw"][0]] = -0.24 * (jaw - close)[:, None]
        track[:, NAMED_CHANNELS["pucker"][0]] = 0.05 * rounding[:, None]
        track[:, NAMED_CHANNELS["smile"][0]] = (0.06 * spread - 0.12 * jaw)[:, None]
        return _motion(track, gain * _rule_gap(shape))

    return predict


def read_phones(reader: PhoneReader, waveform: np.ndarray) -> list[Segment]:
    """Phones with their times of a waveform [640 T], read in pieces that end where it is quietest."""
    power = gaussian_filter1d(waveform.reshape(-1, SAMPLES_PER_FRAME).var(axis=1, dtype=np.float64), 2)
    phones: list[Segment] = []
    begin = 0
    while begin < len(power):
        end = len(power)
        if end - begin > PIECE:
            end = begin + PIECE // 2 + int(power[begin + PIECE // 2 : begin + PIECE].argmin())
        piece = waveform[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        if len(piece) > SAMPLE_RATE // 2:
            phones += [(phone, a + begin / FPS, b + begin / FPS) for phone, a, b in reader.segments(piece)]
        begin = end
    return phones


def dominance(phones: list[Segment], frames: int) -> np.ndarray:
    """Blended mouth shape [T, 5] under phones: every one pulls, the more the nearer, and p, b, m seal the lips."""
    time = (np.arange(frames) + 0.5) / FPS + _LEAD
    total, weight = np.zeros((frames, 5)), np.full((frames, 5), 1e-6)
    seals = []
    for phone, begin, end in _with_pauses(phones, frames):
        for viseme, a, b in _parts(phone, begin, end):
            *shape, jaw, lips, before, after = _RULES[viseme]
            distance = 1000 * np.where(time < a, (a - time) * before, np.where(time > b, (time - b) * after, 0.0))
            pull = np.exp(-distance)[:, None] * np.clip((b - a) / 0.06, 0.35, 1.3)
            pull = pull * np.array([jaw, lips, lips, jaw, jaw])
            total, weight = total + pull * np.array(shape), weight + pull
            if viseme == "PP":
                seals.append(int(np.argmin(np.abs(time - (0.4 * a + 0.6 * b)))))
    blend = total / weight
    blend[seals, 1], blend[seals, 4] = blend[seals, 0], 0.0  # after blending, which would reopen them
    return blend


def _with_pauses(phones: list[Segment], frames: int) -> list[Segment]:
    """The phones, and silence in the gaps of .1 s and more between them."""
    filled: list[Segment] = []
    done = 0.0
    for phone, begin, end in [*phones, ("", frames / FPS, frames / FPS)]:
        if begin - done > 0.1:
            filled.append(("sil", done, begin))
        if phone:
            filled.append((phone, begin, end))
        done = end
    return filled


def _parts(phone: str, begin: float, end: float) -> list[tuple[str, float, float]]:
    if phone == "sil":
        return [("sil", begin, end)]
    visemes = phone_visemes(phone)
    if len(visemes) < 2:
        return [(viseme, begin, end) for viseme in visemes]
    middle = begin + 0.6 * (end - begin)
    return [(visemes[0], begin, middle), (visemes[1], middle, end)]


def _rule_gap(shape: np.ndarray) -> np.ndarray:
    """Lips parted by the jaw and by what draws them apart; OC up to a gain (ratio of both from tracked faces)."""
    jaw, close, _, _, apart = shape.T
    return np.maximum(0.34 * (jaw - close) + 0.12 * apart, 0.0)


def _gaps(recordings: list[Recording]) -> np.ndarray:
    return np.concatenate([lip_gap(recording.clip.motion)[recording.clip.valid] for recording in recordings])


def _motion(track: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The first channels [T, up to 63] and the inner-lip gap [T] -> motion [T, 70]; the lower lip makes the gap."""
    motion = np.zeros((len(track), MOTION_DIM), np.float32)
    motion[:, : track.shape[1]] = track
    motion[:, LOWER_LIP_Y] = motion[:, UPPER_LIP_Y] - gap
    return motion
