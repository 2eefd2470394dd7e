"""What can be asked of a talking video, checked before any model is loaded."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from contracts import BLENDSHAPES, EMOTIONS, ModaError
from encoders import parse_emotion
from moda.motion import LARGEST
from moda.render import Background, Frame, Framing
from pipelines.weights import LITE, PUBLISHED, RANDOM, WEIGHTS, check_models

if TYPE_CHECKING:
    from moda.motion import Knobs

Sampling = Literal["default", "published"]
LARGEST_SEED = 2**63 - 1
LONGEST_EMOTION = 10_000  # characters: a key every other second for half an hour
_KNOB = (0, int(LARGEST), "1 is the model itself, 0 is off")
_SCALE = (0, 20, "a guidance scale of 1 is the model itself, more than 4 only distorts")
#: The options that are numbers: the least, the most, and what to do about others. They bound what a video can cost.
NUMBERS: dict[str, tuple[int, int, str]] = {
    "seed": (0, LARGEST_SEED, "any whole number in there is a seed"),
    "steps": (1, 100, "5 to 20 are good, more only take longer"),
    "guidance": _SCALE, "emotion_guidance": _SCALE,
    "head_motion": _KNOB, "blink_rate": _KNOB, "mouth": _KNOB, "expression": _KNOB,
    "face": (1, 1000, "`moda faces` numbers the faces of a picture"),
}  # fmt: skip
#: The emotions that can be asked for by name.
LABELS = tuple(name for name in EMOTIONS if name != "none")


class OptionError(ModaError):
    """An option outside its range."""


@dataclass(frozen=True)
class TalkOptions:
    """What can be asked of a talking video. Raises ModaError where it is impossible."""

    emotion: str = "neutral"
    """``happiness:0.8``, a timeline ``0:neutral,2.5:happiness:0.9``, or ``auto``: more of what the portrait shows.
    ``neutral`` adds nothing to the look of the portrait."""
    seed: int = 0
    """0 to 2^63 - 1. The same seed gives the same video, frame for frame."""
    weights: str = LITE
    """``lite``, ``moda``, ``random-base``, or the folder of an own training: see :mod:`pipelines.weights.names`."""
    sampling: Sampling = "default"
    """``published`` samples as the published MoDA does, for comparison: ten steps, windows blended, the clip heard and
    its lips touched up as a whole. For its own weights only."""
    steps: int | None = None
    """1 to 100: evaluations of the network per window of motion. Of this and the next two None is what suits the
    weights."""
    guidance: float | None = None
    """0 to 20: how hard the speech is followed; 1 is the model itself."""
    emotion_guidance: float | None = None
    """0 to 20: how hard the emotion is followed; 1 is the model itself."""
    look_up: bool = False
    """Lift the gaze a little in every frame, as the published pipeline does; for published weights only."""
    head_motion: float = 1.0
    """0 to 2: how far the head moves; 0 keeps it still."""
    blink_rate: float = 1.0
    """0 to 2: how often the eyes blink; 0 is never, 2 twice as often as the model would."""
    mouth: float = 1.0
    """0 to 2: how far the mouth opens and the lips travel; 0 keeps them shut."""
    expression: float = 1.0
    """0 to 2: how far brows, cheeks, squint and smile go; 0 keeps them at rest."""
    frame: Frame | None = None
    """``full``: the whole picture at its own resolution; ``crop``: the square around the head. None: ``full``, except
    where a size is given, and where the picture is no larger than the head crop."""
    size: int | None = None
    """Side of the ``crop``, px, even, 256 to 1024; None is 512."""
    background: Background = "still"
    """``still``, or ``follow``: the surroundings give way to the head elastically."""
    face: int | None = None
    """Which face of the portrait, 1 to 1000, as ``moda faces`` numbers them; None is the one that is clearly largest.
    The others stay still."""
    head_from: str | PathLike[str] | None = None
    """A saved motion (npz) of the same length whose head movement is taken: what makes two emotions comparable."""
    save_motion: str | PathLike[str] | None = None
    """Where to keep the motion, as npz."""
    provenance: bool = True
    """Sign into the video that it is synthetic, what made it, and the hashes of what it was made from."""
    mark: bool = False
    """Burn a small visible mark into the upper left corner of the picture."""

    def __post_init__(self) -> None:
        for wrong in filter(None, (rule(self) for rule in _RULES)):
            raise OptionError(wrong)
        check_models(self.weights)
        Framing(self.frame, self.size, self.background)  # says what is impossible
        parse_emotion(self.emotion, (0.0,) * len(BLENDSHAPES))  # is it an emotion at all?

    @property
    def knobs(self) -> Knobs:
        from moda.motion import Knobs  # here, as options are checked without numpy

        return Knobs(**{knob.name: getattr(self, knob.name) for knob in fields(Knobs)})

    @property
    def settings(self) -> dict[str, str | int | float | bool | None]:
        """What makes the video what it is, without the places of files."""
        files = ("head_from", "save_motion", "provenance")
        told = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in files}
        return told | {"weights": self.weights if self.weights in WEIGHTS else Path(self.weights).name}

    @property
    def hearing(self) -> tuple[str, Sampling]:
        """All that the features of a voice depend on."""
        return self.weights, self.sampling


#: What each option holds: the types of the fields of TalkOptions by name.
HINTS: dict[str, Any] = get_type_hints(TalkOptions)


def brief(value: object) -> str:
    """A wrong value as a message repeats it."""
    return f"{value:g}" if isinstance(value, float) else reprlib.repr(value)


def _sampling(options: TalkOptions) -> str | None:
    if options.sampling not in get_args(Sampling):
        return f"there is no sampling {options.sampling!r}; give {' or '.join(get_args(Sampling))}"
    return None


def _emotion(options: TalkOptions) -> str | None:
    if len(options.emotion) > LONGEST_EMOTION:
        return f"the emotion timeline has {len(options.emotion)} characters; give {LONGEST_EMOTION} at most"
    return None


def _numbers(options: TalkOptions) -> str | None:
    for name, (least, most, why) in NUMBERS.items():
        value: Any = getattr(options, name)
        kinds = get_args(HINTS[name]) or (HINTS[name],)
        if value is None and type(None) in kinds:
            continue
        fits = isinstance(value, Real if float in kinds else Integral) and not isinstance(value, bool)
        if not fits:
            return f"{name} {brief(value)} is no {'' if float in kinds else 'whole '}number; {why}"
        if not least <= value <= most:  # not a number is outside as well
            return f"{name} {brief(value)} is outside {least}..{most}; {why}"
    return None


def _of_published(options: TalkOptions) -> str | None:
    if options.weights in (PUBLISHED, RANDOM):
        if options.blink_rate != 1:
            return f"published weights blink as they will; leave blink_rate at 1, or choose weights {LITE}"
        return None
    for name, asked in (("sampling", options.sampling == "published"), ("look_up", options.look_up)):
        if asked:
            return f"{name} {getattr(options, name)} is of the published weights; add weights {PUBLISHED}"
    return None


#: Each says what is wrong, or nothing; the first that says something is told.
_RULES: tuple[Callable[[TalkOptions], str | None], ...] = (_emotion, _sampling, _numbers, _of_published)
