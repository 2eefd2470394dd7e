"""Where a bilabial is certain enough to seal the lips: the choice of `moda.motion.closures.SealRule`.

    python bench/closures.py SET... [--encoder FILE] [--motion FILE] [--samples 2] [--work FOLDER]

First, how close tracked lips come on spoken p, b and m, and elsewhere in speech (training speakers; phones aligned by
the teachers of `moda train encoder`, with the same --work): the choice of `pipelines.evaluation.metrics.SHUT`. Then it
samples the tuning speakers of a motion set (clips of four seconds or more), applies every rule of a grid, and compares
with how the people moved: recall and precision of closures inside speech (+-1 frame), AUC, correlation of the gap.
Figures are means over clips and samples. Chosen is the best F1 among the rules that cost no more than .005 of the
correlation; write it into SealRule. Then what bringing the lips together in pauses and at the ends costs.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from contracts import FPS, Conditions, EmotionTimeline
from encoders.audio.prosody import speech_frames
from encoders.audio.teachers import PhoneReader
from encoders.audio.visemes import VISEME_INDEX
from encoders.audio.wav2vec import EMBEDDED as ENCODER
from encoders.audio.wav2vec import AudioEncoder
from moda.flow.sampler import SamplerConfig, sample
from moda.motion.closures import SealRule, close_lips
from moda.motion.layout import lip_gap
from moda.network.checkpoint import EMBEDDED as MOTION
from moda.network.checkpoint import load_checkpoint
from pipelines.evaluation.metrics import closure_auc, closures, correlation
from pipelines.training.corpus import Clip, load_corpus
from pipelines.training.ears import teacher_labels
from pipelines.training.sets import part

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
APPROACHES = (0.05, 0.065, 0.08, 0.1, 0.12, 0.15, 1.0)  # OC
LEADS = (0, 1, 2)  # frames
AFFORDABLE = 0.005  # of the correlation
GAPS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07)  # OC
NAMES = ("recall", "precision", "F1", "AUC", "r", "r in speech")

Take = tuple[Clip, np.ndarray, np.ndarray]  # clip, posteriors [T, 15], motion [T, 70]
Edit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # motion, silence, bilabial -> motion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--motion", type=Path, default=MOTION)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    clips = [clip for clip in load_corpus(*arguments.sets) if part(clip.speaker) == "tune" and len(clip) >= 4 * FPS]
    spoken_bilabials([clip for clip in load_corpus(*arguments.sets) if part(clip.speaker) == "train"], arguments.work)
    takes = draw(clips, arguments.encoder, arguments.motion, arguments.samples)
    print(f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers, {arguments.samples} samples each\n")
    print(f"{'threshold  approach  lead':<28}" + "".join(f"{name:>12}" for name in NAMES))
    plain = figures(takes, lambda motion, silence, bilabial: motion)
    show("as drawn", plain)
    found = {}
    for rule in itertools.starmap(SealRule, itertools.product(THRESHOLDS, APPROACHES, LEADS)):
        found[rule] = figures(takes, sealed_by(rule))
    best = sorted(found, key=lambda rule: -found[rule][2])
    for rule in best[:12]:
        show(f"{rule.threshold:<11.2f}{rule.approach:<10.3f}{rule.lead}", found[rule])
    chosen = next((rule for rule in best if found[rule][4] >= plain[4] - AFFORDABLE), None)
    print(f"\nchosen: {chosen}\n")
    show("SealRule() as it is", figures(takes, sealed_by(SealRule())))
    show("and pauses and ends", figures(takes, close_lips))


def spoken_bilabials(clips: list[Clip], work: Path) -> None:
    """Shares of spoken p, b, m and of other moments of speech on which the real lips come closer than GAPS."""
    reader, rng = PhoneReader(), np.random.default_rng(0)
    spoken, others = [], []
    for clip in clips:
        gap, speech = lip_gap(clip.motion), speech_frames(clip.waveform)
        bilabial = teacher_labels(clip, reader, work)[0] == VISEME_INDEX["PP"]
        edges = np.flatnonzero(np.diff(np.pad(bilabial, 1).astype(np.int8)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            near = slice(max(0, begin - 1), end + 1)
            if clip.valid[near].all():
                spoken.append(gap[near].min())
        for frame in rng.integers(2, len(gap) - 4, 60) if bilabial.any() else ():
            near = slice(frame - 1, frame + 3)
            if clip.valid[near].all() and speech[frame] and not bilabial[max(0, frame - 3) : frame + 5].any():
                others.append(gap[near].min())
    print(f"{len(spoken)} spoken p, b, m; closer than  " + "  ".join(f"{gap:.2f} OC" for gap in GAPS))
    for name, gaps in (("p, b, m", spoken), ("elsewhere", others)):
        print(f"  {name:<36}" + "  ".join(f"{np.mean(np.array(gaps) < gap):7.2f}" for gap in GAPS))


def sealed_by(rule: SealRule) -> Edit:
    """Seals alone, no pauses and no ends."""
    return lambda motion, silence, bilabial: close_lips(
        motion, np.zeros_like(silence), bilabial, rule, begins=False, ends=False
    )


def draw(clips: list[Clip], encoder: Path, weights: Path, samples: int) -> list[Take]:
    listener, (model, space) = AudioEncoder.embedded(path=encoder), load_checkpoint(weights)
    takes = []
    for clip in clips:
        features = list(listener.stream(clip.waveform))
        tokens = [listener.tokens(chunk) for chunk in features]
        visemes = torch.cat([chunk.visemes for chunk in features if chunk.visemes is not None]).numpy()
        conditions = Conditions(tokens, torch.from_numpy(clip.identity), EmotionTimeline())
        for seed in range(samples):
            chance = torch.Generator().manual_seed(seed)
            motion = torch.cat(list(sample(model, space, conditions, SamplerConfig(), chance))).numpy()
            takes.append((clip, visemes, motion))
    return takes


def figures(takes: list[Take], edit: Edit) -> np.ndarray:
    """NAMES, mean over takes."""
    rows = []
    for clip, visemes, motion in takes:
        silence, bilabial = (visemes[:, VISEME_INDEX[name]] for name in ("sil", "PP"))
        real, found = lip_gap(clip.motion), lip_gap(edit(motion, silence, bilabial))
        seen = clip.valid
        inside = speech_frames(clip.waveform) & seen
        rows.append([
            *closures(real, found, inside), closure_auc(real[inside], found[inside]),
            correlation(real[seen], found[seen]), correlation(real[inside], found[inside]),
        ])  # fmt: skip
    return np.nanmean(np.array(rows), axis=0)


def show(name: str, row: np.ndarray) -> None:
    print(f"{name:<28}" + "".join(f"{value:12.3f}" for value in row))


if __name__ == "__main__":
    main()
