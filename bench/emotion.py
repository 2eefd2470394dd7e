"""Does the emotion show, and can the mouth still be read? Rendered, landmarked again and judged.

    python bench/emotion.py PORTRAITS VOICE OUT [--corpus SET...] [--templates]

PORTRAITS is a folder of pictures, VOICE a recording, of which some seconds are spoken. Every portrait shows every
emotion in full, the first few also in part; the rendered frames are landmarked, and their blendshapes compared with
those of the same portrait speaking neutrally, by the estimate for faces that talk (pipelines/training/emotions.py). An
emotion is named where its score leads, or where the estimate for portraits (encoders/emotion.py) names it outright,
which it may do already of the neutral face; the face moves towards it where its score is over MOVED, or the portrait's
estimate rises by as much. With a motion set: how well the mouth still follows real people (tuning speakers), and the
share of the set's frames that show each emotion. OUT gets emotion.png, a frame per portrait and emotion.
``--templates`` adds the templates to the neutral motion instead of asking the model: what the renderer can show at all.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from figures import PICTURES, contact_sheet
from scipy.stats import spearmanr

from contracts import EMOTIONS, FPS, SAMPLE_RATE, EmotionKey, EmotionTimeline, ModaError
from encoders.audio.media import load_audio
from encoders.emotion import estimate_emotion
from encoders.face.landmarks.landmarker import FaceLandmarker
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity
from moda.motion.templates import express
from pipelines import TalkingHead
from pipelines.evaluation.metrics import correlation, lip_gap
from pipelines.training.corpus import Clip, load_corpus, split
from pipelines.training.emotions import emotion_scores, pseudo_emotion, resting, shares

if TYPE_CHECKING:
    from contracts import Array

SHOWN = [emotion for emotion in EMOTIONS if emotion not in ("neutral", "none")]
PARTS = (0.25, 0.5, 0.75)
VERDICTS = ("named", "towards", "already", "no")
STRIDE = 10  # frames: the estimate is a mean over seconds, a few looks will do
MOVED = 0.05
SIZE = 256  # px
SHORTEST, LONGEST = 4, 10  # s, of a clip on which mouths are compared


@dataclass(frozen=True)
class Look:
    """What is seen of one portrait with one emotion."""

    blendshapes: Array  # [52], mean over the frames looked at
    frame: Array  # uint8 [S, S, 3], from the middle


def speak(head: TalkingHead, waveform: Array, identity: Array, emotion: str, intensity: float = 1.0) -> Array:
    """Motion [T, 70] of a face that speaks with an emotion; chance is the same each time."""
    timeline = EmotionTimeline((EmotionKey(0.0, emotion, intensity),))
    return np.concatenate(list(head.perform(head.models().listener.stream(waveform), identity, timeline)))


class Portrait:
    """One portrait that speaks one recording, with any emotion. Raises ModaError."""

    def __init__(self, path: Path, head: TalkingHead, waveform: Array, landmarker: FaceLandmarker, templates: bool):
        self.head, self.waveform, self.landmarker, self.templates = head, waveform, landmarker, templates
        face = encode_face(path)
        self.name, self.identity = path.stem, encode_identity(face)
        self.prepared = head.models().renderer.prepare(face, SIZE)
        self.still = speak(head, waveform, self.identity, "neutral")
        self.neutral = self._look(self.still)

    def show(self, emotion: str, intensity: float = 1.0) -> Look:
        if self.templates:
            still = torch.from_numpy(self.still)
            return self._look(express(still, EMOTIONS.index(emotion), intensity).numpy())
        return self._look(speak(self.head, self.waveform, self.identity, emotion, intensity))

    def score(self, emotion: str, look: Look) -> float:
        """How far the estimate moved towards the emotion against neutral speech."""
        return float(self.scores(look)[EMOTIONS.index(emotion)])

    def scores(self, look: Look) -> Array:
        return emotion_scores(look.blendshapes[None], self.neutral.blendshapes)[0]

    def judge(self, emotion: str, look: Look) -> str:
        """One of VERDICTS."""
        scores, index = self.scores(look), EMOTIONS.index(emotion)
        outright, before = estimate_emotion(look.blendshapes), estimate_emotion(self.neutral.blendshapes)
        if scores[index] > MOVED and scores.argmax() == index:
            return "named"
        if outright.label == emotion:
            return "already" if before.label == emotion else "named"
        return "towards" if max(scores[index], outright.scores[index] - before.scores[index]) > MOVED else "no"

    def _look(self, motion: Array) -> Look:
        frames = list(self.head.models().renderer.render(self.prepared, motion[STRIDE // 2 :: STRIDE]))
        found = [face for frame in frames for face in self.landmarker.detect(frame)[:1]]
        if not found:
            raise ModaError("no face is found in what was rendered")
        return Look(np.mean([face.blendshapes for face in found], 0), frames[len(frames) // 2])


def mouths(head: TalkingHead, clips: list[Clip], templates: bool) -> dict[str, float]:
    """Mean r of the gap with that of the real person under each emotion in full, over clips."""
    found: dict[str, list[float]] = {emotion: [] for emotion in ("neutral", *SHOWN)}
    for clip in clips:
        frames = min(len(clip), LONGEST * FPS)
        seen, real = clip.valid[:frames], lip_gap(clip.motion[:frames])
        waveform = clip.waveform[: frames * (SAMPLE_RATE // FPS)]
        still = speak(head, waveform, clip.identity, "neutral")
        for emotion, values in found.items():
            if templates or emotion == "neutral":
                motion = express(torch.from_numpy(still), EMOTIONS.index(emotion), 1.0).numpy()
            else:
                motion = speak(head, waveform, clip.identity, emotion)
            values.append(correlation(real[seen], lip_gap(motion)[seen]))
    return {emotion: float(np.nanmean(values)) for emotion, values in found.items()}


def judge_portraits(people: list[Portrait], steps: int, out: Path) -> None:
    verdicts: dict[str, list[str]] = {emotion: [] for emotion in SHOWN}
    rows, orders = {}, []
    for person in people:
        looks = {emotion: person.show(emotion) for emotion in SHOWN}
        rows[person.name] = [person.neutral.frame, *(look.frame for look in looks.values())]
        words = []
        for emotion, look in looks.items():
            verdicts[emotion].append(person.judge(emotion, look))
            words.append(f"{emotion} {person.score(emotion, look):.2f} {verdicts[emotion][-1]}")
        print(f"{person.name:<24}{', '.join(words)}", flush=True)
        if len(rows) <= steps:
            for emotion, look in looks.items():
                parts = [person.neutral, *(person.show(emotion, part) for part in PARTS), look]
                scores = [person.score(emotion, part) for part in parts]
                rest, change = person.neutral.blendshapes, look.blendshapes - person.neutral.blendshapes
                shares_ = [float((part.blendshapes - rest) @ change / (change @ change)) for part in parts]
                orders.append([spearmanr(range(5), row)[0] if np.ptp(row) else np.nan for row in (scores, shares_)])
                print(f"  {emotion:<12}score {_list(scores)}   share of the full change {_list(shares_)}")
    contact_sheet(rows, ["neutral", *SHOWN], out / "emotion.png")
    every = [verdict for column in verdicts.values() for verdict in column]
    print(f"\n{'emotion':<12}{''.join(f'{verdict:>9}' for verdict in VERDICTS)}")
    for emotion, column in {**verdicts, "all": every}.items():
        print(f"{emotion:<12}{''.join(f'{column.count(verdict):>9}' for verdict in VERDICTS)}")
    won = (every.count("named") + every.count("towards")) / len(every)
    any_ = 1 - every.count("no") / len(every)
    print(f"named or moved towards: {won:.0%} of {len(every)}, with those named already {any_:.0%}")
    for name, column in zip(("score", "share of the full change"), zip(*orders, strict=True), strict=False):
        print(f"intensity 0, .25, .5, .75, 1 against {name}, Spearman: mean {np.nanmean(column):.2f}, least "
              f"{np.nanmin(column):.2f}; without any change {np.isnan(column).sum()} of {len(column)}")  # fmt: skip


def _list(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def judge_corpus(head: TalkingHead, corpus: list[Path], templates: bool) -> None:
    parts = split(load_corpus(*corpus))
    rests = {c.speaker: resting(d.blendshapes for d in parts.train if d.speaker == c.speaker) for c in parts.train}
    print("\nshown by the training speakers, share of frames and of clips (a second or more):")
    labels = [pseudo_emotion(clip.blendshapes, rest=rests[clip.speaker]) for clip in parts.train]
    print(", ".join(f"{emotion} {frames:.3f} {held:.2f}" for emotion, (frames, held) in shares(labels).items()))
    chosen = [clip for clip in parts.tune if len(clip) >= SHORTEST * FPS]
    print(f"\nmouth against the real one, {len(chosen)} clips of tuning speakers, r and what the emotion costs:")
    figures = mouths(head, chosen, templates)
    for emotion, value in figures.items():
        print(f"{emotion:<12}{value:.3f}{figures['neutral'] - value:+8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("voice", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, nargs="+", help="motion sets")
    parser.add_argument("--templates", action="store_true")
    parser.add_argument("--count", type=int, default=10, help="how many; 0 for none")
    parser.add_argument("--steps", type=int, default=3, help="portraits that show emotions in part, too")
    parser.add_argument("--seconds", type=float, default=4.5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # scipy's of tracks that do not change
    torch.set_num_threads(1)
    head = TalkingHead()
    arguments.out.mkdir(parents=True, exist_ok=True)
    waveform = load_audio(arguments.voice)[: round(arguments.seconds * SAMPLE_RATE)]
    people: list[Portrait] = []
    with FaceLandmarker() as landmarker:
        for path in sorted(p for p in arguments.portraits.iterdir() if p.suffix.lower() in PICTURES):
            if len(people) == arguments.count:
                break
            try:
                people.append(Portrait(path, head, waveform, landmarker, arguments.templates))
            except ModaError as error:
                print(f"{path.name}: left out, {error}")
        if people:
            judge_portraits(people, arguments.steps, arguments.out)
    if arguments.corpus is not None:
        judge_corpus(head, arguments.corpus, arguments.templates)


if __name__ == "__main__":
    main()
