"""What each ingredient of the audio encoder is worth: short trainings of equal steps, judged on the tuning speakers.

    python bench/ears.py OUT SET... --former FILE --speech FOLDER... --beds FOLDER... [--steps 600] [--seeds 2]
        [--only ROW...]

All but `from scratch` go on from a former encoder: a few hundred steps of a new one hardly find the spectrogram.
The encoder's own articulation track is compared with the tracked mouth: correlation of the inner-lip gap (all that was
heard, 10 dB of pink noise under it, 120 ms of look-ahead) and AUC of closures in speech; sets apart. Differences to
`all` are taken clip by clip, means over seeds, with intervals bootstrapped over speakers. What is learnt from, the
weights and the figures are kept in OUT: a row that is there is not made again, and rows may be made by several runs.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from encoders.audio.augmentation import Beds
from encoders.audio.lesson import Lesson, TrainConfig
from encoders.audio.prosody import speech_frames
from encoders.audio.train import train_encoder
from encoders.audio.wav2vec import AudioEncoder, load_lite
from moda.motion.layout import lip_gap
from pipelines.evaluation.metrics import closure_auc, correlation
from pipelines.evaluation.noise import under_noise
from pipelines.evaluation.scores import ClipScore, compare, summarise
from pipelines.training.beds import load_beds
from pipelines.training.corpus import Clip, load_corpus, split
from pipelines.training.ears import read_lesson
from pipelines.training.resume import Resume
from pipelines.training.sets import JUDGED

Recipe = tuple[Lesson, TrainConfig]
SCRATCH = "from scratch"
NOISE = 10.0  # dB
LIVE = 3  # frames of look-ahead, 120 ms


def _without(origin: str) -> Callable[[Lesson, TrainConfig], Recipe]:
    def row(lesson: Lesson, config: TrainConfig) -> Recipe:
        kept = {
            kind: [item for item in getattr(lesson, kind) if item.origin != origin] for kind in ("footage", "speech")
        }
        return replace(lesson, **kept), config

    return row


def _shaped(**change: int | bool) -> Callable[[Lesson, TrainConfig], Recipe]:
    return lambda lesson, config: (lesson, replace(config, shape=replace(config.shape, **change)))


def _trained(**change: float) -> Callable[[Lesson, TrainConfig], Recipe]:
    return lambda lesson, config: (lesson, replace(config, **change))


ROWS: dict[str, Callable[[Lesson, TrainConfig], Recipe]] = {
    "all": lambda lesson, config: (lesson, config),
    "without the second set": _without("motion2"),
    "without real speech": _without("recorded"),
    "without Kokoro": _without("kokoro"),
    "without speech": lambda lesson, config: (replace(lesson, speech=[]), config),
    "without beds": lambda lesson, config: (replace(lesson, beds=Beds()), config),
    SCRATCH: lambda lesson, config: (lesson, config),
    "4 M parameters": _shaped(layers=4),
    "12 M parameters": _shaped(layers=14),
    "without prosody": _shaped(prosody=False),
    "masked prediction": _trained(masked=0.5),
    "without rest": _trained(quiet=0.0, nobody=0.0),
}


def main(
    out: Path, corpora: list[Path], former: Annotated[Path, typer.Option()],
    speech: Annotated[list[Path], typer.Option()],
    beds: Annotated[list[Path], typer.Option()], work: Path = Path("runs"), steps: int = 600, seeds: int = 2,
    threads: int = 1, only: Annotated[list[str] | None, typer.Option()] = None,
) -> None:  # fmt: skip
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in split(load_corpus(*corpora)).tune if len(clip) >= JUDGED]
    lesson: Lesson | None = None
    rows: dict[str, list[list[ClipScore]]] = {}
    for name in ROWS:
        for seed in range(seeds):
            weights = out / f"{name.replace(' ', '-')}-{seed}.safetensors"
            figures = weights.with_suffix(".json")
            if not figures.is_file():
                if only is not None and name not in only:
                    continue
                lesson = lesson or _lesson(out / "lesson.pickle", corpora, speech, beds, work)
                if not weights.is_file():
                    recipe = ROWS[name](lesson, TrainConfig(steps=steps, seed=seed, precision=torch.bfloat16))
                    _train(*recipe, weights, None if name == SCRATCH else former)
                scores = judge(AudioEncoder.embedded(path=weights), clips)
                figures.write_text(json.dumps([asdict(score) for score in scores]))
            rows.setdefault(name, []).append([ClipScore(**score) for score in json.loads(figures.read_text())])
    table = Table("", *rows["all"][0][0].figures)
    reference = _means(rows["all"])
    table.add_row(
        "all", *(f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]" for value in summarise(reference).values())
    )
    for name, found in rows.items():
        if name != "all":
            differences = compare(_means(found), reference)
            table.add_row(name, *(f"{v.mean:+.3f} [{v.low:+.3f}, {v.high:+.3f}]" for v in differences.values()))
    Console(width=200).print(table)


def _lesson(path: Path, corpora: list[Path], speech: list[Path], beds: list[Path], work: Path) -> Lesson:
    if not path.is_file():
        told: set[str] = set()

        def tell(what: str, done: int, total: int) -> None:
            if what not in told:
                told.add(what)
                logging.info(what)

        lesson = read_lesson(corpora, speech, work, tell, load_beds(beds), torch.bfloat16)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            pickle.dump(lesson, file, protocol=5)
        part.replace(path)
    with path.open("rb") as file:
        return pickle.load(file)  # our own, of the line before


def _train(lesson: Lesson, config: TrainConfig, weights: Path, former: Path | None) -> None:
    part = weights.with_suffix(".part.safetensors")
    with Resume(part, (config, len(lesson))) as resume:
        begun = None if former is None else load_lite(former)
        train_encoder(lesson, part, config, resume.keep, resume.kept, former=begun)
    part.rename(weights)


def judge(listener: AudioEncoder, clips: list[Clip]) -> list[ClipScore]:
    """Figures of the encoder's own inner-lip gap."""
    scores = []
    for clip in clips:
        real, inside = lip_gap(clip.motion), speech_frames(clip.waveform) & clip.valid

        def heard(waveform: np.ndarray, lookahead: int | None = None) -> np.ndarray:
            return listener.hear(waveform, lookahead)[:, -1].numpy()

        found = heard(clip.waveform)
        figures = {
            "r": correlation(real[clip.valid], found[clip.valid]),
            "r in speech": correlation(real[inside], found[inside]),
            "AUC": closure_auc(real[inside], found[inside]),
            "r at 10 dB": correlation(real[clip.valid], heard(under_noise(clip, NOISE))[clip.valid]),
            "r at 120 ms": correlation(real[clip.valid], heard(clip.waveform, LIVE)[clip.valid]),
        }
        own = {f"{name}, {clip.set}": value for name, value in figures.items() if name in ("r", "AUC")}
        scores.append(ClipScore(clip.speaker, figures | own, clip.set))
    return _aligned(scores)


def _aligned(scores: list[ClipScore]) -> list[ClipScore]:
    """The same figures for all, not a number where a clip has none."""
    names = list(dict.fromkeys(name for score in scores for name in score.figures))
    return [replace(s, figures={name: s.figures.get(name, float("nan")) for name in names}) for s in scores]


def _means(seeds: list[list[ClipScore]]) -> list[ClipScore]:
    """Clip by clip, the mean over seeds."""
    return [
        replace(
            same[0], figures={name: float(np.mean([score.figures[name] for score in same])) for name in same[0].figures}
        )
        for same in zip(*seeds, strict=True)
    ]


if __name__ == "__main__":
    typer.run(main)
