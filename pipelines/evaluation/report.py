"""What one run of the evaluation found, as a whole and by groups of speakers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Literal

from pipelines.evaluation.effort import effort_figures
from pipelines.evaluation.rest import RealRest, rest_figures
from pipelines.evaluation.scores import (
    BESIDE,
    BESIDE_SHOWN,
    ONE,
    REAL,
    SHOWN,
    ClipScore,
    Estimate,
    Figure,
    compare,
    summarise,
)

FEW = 5  # speakers: of fewer, no interval is told
GROUPS: tuple[Literal["set", "language", "sex"], ...] = ("set", "language", "sex")
#: Figures whose fall is told under noise, and under a short look-ahead.
FALL = ("gap r", "gap r in speech", "closure AUC")


@dataclass(frozen=True)
class Report:
    part: str
    samples: int
    scores: dict[str, list[ClipScore]]
    """By system; clips in the same order everywhere."""
    ranges: dict[str, tuple[float, float]]
    """10th and 90th percentile of head motion and blinks in the footage that is not judged."""
    rest: dict[str, dict[str, RealRest]] = field(default_factory=dict)
    """By set, "" for all, and length of the pause: how all the people of the footage rest, judged or not."""
    noise: float | None = None
    """dB of the speech over the noise that ``noisy`` was heard under."""
    noisy: dict[str, list[ClipScore]] = field(default_factory=dict)
    """The scores under noise, of all systems that hear."""
    live: dict[int, dict[str, list[ClipScore]]] = field(default_factory=dict)
    """The scores of what hears through the encoder, by the frames that it hears beyond each."""

    @property
    def clips(self) -> list[ClipScore]:
        """Of any system: whose, of which set and how long."""
        return next(iter(self.scores.values()))

    @property
    def speakers(self) -> int:
        return len({clip.speaker for clip in self.clips})

    @property
    def seconds(self) -> float:
        return sum(clip.seconds for clip in self.clips)

    def by(self, kind: Literal["set", "language", "sex"]) -> dict[str, Report]:
        """The same of each group alone, where there are several; none of one that has no clip."""
        names = sorted({getattr(clip, kind) for clip in self.clips})
        return {name: self._only(kind, name) for name in names} if len(names) > 1 else {}

    def _only(self, kind: str, name: str) -> Report:
        def of(scores: dict[str, list[ClipScore]]) -> dict[str, list[ClipScore]]:
            return {
                system: [one for one in found if getattr(one, kind) == name] for system, found in scores.items()
            }  # fmt: skip

        rest = {"": self.rest[name]} if kind == "set" and name in self.rest else self.rest
        live = {frames: of(found) for frames, found in self.live.items()}
        return replace(self, scores=of(self.scores), noisy=of(self.noisy), live=live, rest=rest)

    def figures(self, system: str) -> dict[str, Figure]:
        """Figures of a system that are no means over clips."""
        scores = self.scores[system]
        return rest_figures(scores) | (effort_figures(scores) if system != REAL else {})

    @cached_property
    def summary(self) -> dict[str, dict[str, Estimate]]:
        """By system and figure."""
        return {
            system: summarise(scores) | {name: figure.estimate() for name, figure in self.figures(system).items()}
            for system, scores in self.scores.items()
        }

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """How many pauses or ends of clips each figure of rest is of, and of how many speakers; none without one."""
        owners = {name: figure.owners for name, figure in rest_figures(self.scores.get(REAL, [])).items()}
        return {name: (len(of), len(set(of))) for name, of in owners.items() if of}

    @cached_property
    def places(self) -> dict[str, dict[str, str]]:
        """By system and figure: whether a median gap in pauses is ``below``, ``inside`` or ``above`` the middle half of
        the pauses of real people."""
        yardstick = {f"pause {length} gap": real for length, real in self.rest.get("", {}).items()}
        return {
            system: {
                name: yardstick[name].place(figure.mean)
                for name, figure in figures.items()
                if name in yardstick and isfinite(figure.mean)
            }
            for system, figures in self.summary.items()
        }

    @cached_property
    def beside(self) -> dict[str, dict[str, Estimate]]:
        """The generator less the one beside it, as drawn and as shown, in every figure; empty where there is none."""
        pairs = {ONE: BESIDE, SHOWN: BESIDE_SHOWN}
        return {name: self._less(name, other) for name, other in pairs.items() if other in self.scores}

    def _less(self, system: str, other: str) -> dict[str, Estimate]:
        ours, theirs = self.figures(system), self.figures(other)
        paired = {name: (figure - theirs[name]).estimate() for name, figure in ours.items()}
        return compare(self.scores[system], self.scores[other]) | paired

    @cached_property
    def fall(self) -> dict[str, dict[str, Estimate]]:
        """By system: how much of FALL is lost under noise, clip by clip."""
        found = {}
        for system, scores in self.noisy.items():
            lost = compare(self.scores[system], scores)
            found[system] = {name: lost[name] for name in FALL if name in lost}
        return found

    @cached_property
    def ahead(self) -> dict[int, dict[str, dict[str, Estimate]]]:
        """By look-ahead in frames and system: FALL."""
        found = {}
        for frames, systems in self.live.items():
            told = {system: summarise(scores) for system, scores in systems.items()}
            found[frames] = {system: {name: figures[name] for name in FALL} for system, figures in told.items()}
        return found
