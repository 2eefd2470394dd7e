"""What a motion generator is, as data: widths, and the plan by which its streams are fused.

A plan is a tuple of stages. A stage names its streams, ``motion|audio+emotion+identity`` say: modalities joined by
``+`` are concatenated and share one set of weights, ``|`` separates streams with weights of their own, and every
block attends jointly over all of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Modality = Literal["motion", "audio", "emotion", "identity"]
MODALITIES: tuple[Modality, ...] = ("motion", "audio", "emotion", "identity")

FOUR = "motion|audio|emotion|identity"
TWO = "motion|audio+emotion+identity"
ONE = "motion+audio+emotion+identity"


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
    context: Literal["previous", "overlap"] = "overlap"
    """What rides beside the noisy motion: the frame before the window held over all of it (published), or the known
    frames of the overlap and then the last of them held."""
    condition_attention: Literal["joint", "asymmetric"] = "joint"
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
        """Raises TypeError or ValueError where the text describes no config."""
        fields: dict[str, Any] = json.loads(text)
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
