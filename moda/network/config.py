"""What a motion generator is, as data: widths, and the plan by which its streams are fused.

A plan is a tuple of stages. A stage names its streams, ``motion|audio+emotion+identity`` say: modalities joined by
``+`` are concatenated and share one set of weights, ``|`` separates streams with weights of their own, and every
block attends jointly over all of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

Context = Literal["previous", "overlap"]
ConditionAttention = Literal["joint", "asymmetric"]
Modality = Literal["motion", "audio", "emotion", "identity"]
MODALITIES: tuple[Modality, ...] = ("motion", "audio", "emotion", "identity")

FOUR = "motion|audio|emotion|identity"
TWO = "motion|audio+emotion+identity"
ONE = "motion+audio+emotion+identity"

#: What a config may ask for at most: what a damaged one asks for beyond would fill the memory, or never end.
WIDEST, DEEPEST, LONGEST = 2**16, 256, 2000  # widths; blocks of all stages; frames or tokens of a window
LONGEST_TEXT = 2**16  # characters of JSON


@dataclass(frozen=True)
class Stage:
    """``depth`` blocks over the same streams."""

    streams: str
    depth: int
    parallel: bool = False
    """Attention and MLP side by side under one modulation, as in the single-stream block of FLUX."""
    rope: tuple[Modality, ...] = ("motion", "audio")
    """Modalities whose tokens carry a rotary position here."""

    @property
    def groups(self) -> tuple[tuple[Modality, ...], ...]:
        """The modalities of each stream: ``(("motion",), ("audio", "emotion", "identity"))``."""
        return tuple(tuple(stream.split("+")) for stream in self.streams.split("|"))  # type: ignore[arg-type]

    @property
    def order(self) -> tuple[Modality, ...]:
        """The modalities in the order of the joint token sequence."""
        return tuple(modality for group in self.groups for modality in group)


def coarse_to_fine(
    four: int, two: int, one: int, rope_late: tuple[Modality, ...] = ("motion", "audio")
) -> tuple[Stage, ...]:
    """MoDA's plan: modalities apart, then motion against the conditions, then all in one stream."""
    stages = (Stage(FOUR, four), Stage(TWO, two, rope=rope_late), Stage(ONE, one, parallel=True, rope=rope_late))
    return tuple(stage for stage in stages if stage.depth)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of an :class:`~moda.network.model.MMDiT`; stored in its checkpoint."""

    hidden: int
    heads: int
    plan: tuple[Stage, ...]
    audio_dim: int
    """Width of one audio token (all chosen hidden states and heads of one frame, concatenated)."""
    window: int = 80
    """Frames per window, 3.2 s."""
    repeat: int = 1
    """Tokens that carry the emotion, and as many the identity: copies of one embedding. The published model has 80."""
    context: Context = "overlap"
    """What rides beside the noisy motion: the frame before the window held over all of it (published), or the known
    frames of the overlap and then the last of them held."""
    condition_attention: ConditionAttention = "joint"
    """``joint``: all tokens attend to all (published). ``asymmetric``: conditions see neither the motion nor the noise
    level, so their keys and values are the same at every step (OminiControl2, arXiv 2503.08280)."""
    prior: int = 0
    """The last so many numbers of an audio token foretell the motion: the flow starts about a linear reading of them
    (a data-dependent coupling, arXiv 2310.03725). With none it starts about the mean motion (published)."""
    motion_dim: int = 70
    identity_dim: int = 63
    emotions: int = 9
    mlp_ratio: int = 4
    rope_theta: float = 256.0
    time_features: int = 256

    def __post_init__(self) -> None:
        self._check_ranges()
        if self.hidden % self.heads or self.head_dim % 2:
            raise ValueError(f"hidden {self.hidden} must split into {self.heads} heads of even width")
        streams: set[tuple[Modality, ...]] = {(modality,) for modality in MODALITIES}
        for stage in self.plan:
            if sorted(stage.order) != sorted(MODALITIES) or stage.order[0] != "motion":
                raise ValueError(f"stage {stage.streams!r} must name motion first, then every other modality once")
            for group in stage.groups:
                if any(set(group) & set(stream) not in (set(), set(stream)) for stream in streams):
                    raise ValueError(f"stage {stage.streams!r} splits a stream that an earlier stage has joined")
            streams = set(stage.groups)

    def _check_ranges(self) -> None:
        """Raises TypeError, ValueError."""
        most = {"window": LONGEST, "repeat": LONGEST, "mlp_ratio": 64}
        widths = ("hidden", "heads", "audio_dim", "motion_dim", "identity_dim", "emotions", "time_features")
        for name in (*widths, *most):
            if not 1 <= _whole(getattr(self, name)) <= most.get(name, WIDEST):
                raise ValueError(f"{name} is out of range")
        if not 0 <= _whole(self.prior) <= self.audio_dim or self.time_features % 2:
            raise ValueError("prior or time_features is out of range")
        if type(self.rope_theta) not in (int, float) or not 1 < self.rope_theta < math.inf:
            raise ValueError("rope_theta is out of range")
        if self.context not in get_args(Context) or self.condition_attention not in get_args(ConditionAttention):
            raise ValueError("context or condition_attention is unknown")
        if not 1 <= sum(_whole(stage.depth) for stage in self.plan) <= DEEPEST or any(
            stage.depth < 1 or type(stage.parallel) is not bool or type(stage.streams) is not str
            or not set(stage.rope) <= set(MODALITIES) for stage in self.plan
        ):  # fmt: skip
            raise ValueError("the plan is out of range")

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def tokens(self, modality: Modality, frames: int) -> int:
        """Tokens of a modality in a window of ``frames``."""
        return frames if modality in ("motion", "audio") else self.repeat

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises KeyError, TypeError or ValueError where the text describes no config."""
        if len(text) > LONGEST_TEXT:
            raise ValueError("a config of that length is none")
        try:
            fields: dict[str, Any] = json.loads(text)
        except RecursionError as error:
            raise ValueError("a config of that depth is none") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("plan"), list):
            raise TypeError("a config is an object with a plan")
        plan = tuple(Stage(**{**stage, "rope": tuple(stage["rope"])}) for stage in fields.pop("plan"))
        return cls(plan=plan, **fields)

    @classmethod
    def tiny(cls, audio_dim: int = 8) -> Self:
        """For tests: one block per stage, about 0.15 M parameters."""
        return cls(hidden=32, heads=2, plan=coarse_to_fine(1, 1, 1), audio_dim=audio_dim)

    @classmethod
    def lite(cls, audio_dim: int = 305) -> Self:
        """The embedded default, 8.0 M parameters: real time on two cores."""
        return cls(hidden=192, heads=6, plan=coarse_to_fine(1, 2, 4), audio_dim=audio_dim, prior=34)

    @classmethod
    def base(cls, audio_dim: int = 12 * 768, hidden: int = 768, heads: int = 12) -> Self:
        """The published MoDA network, 372.98 M parameters at its own widths."""
        plan = coarse_to_fine(3, 6, 12, rope_late=MODALITIES)
        return cls(hidden, heads, plan, audio_dim, repeat=80, context="previous")


def _whole(value: object) -> int:
    if type(value) is not int:  # True is none either
        raise TypeError(f"{value!r:.40} is no whole number")
    return value
