"""What each choice in the motion generator is worth: variants trained alike, judged on the tuning speakers.

    python bench/ablation.py SET... OUT [--encoder FILE] [--steps N] [--samples N] [--only NAME]...

Differences to `lite` are taken clip by clip, with intervals bootstrapped over speakers. Weights are kept in OUT, and a
variant that is there already is not trained again. The last rows sample the weights of `lite` otherwise.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from encoders.audio.wav2vec import EMBEDDED, AudioEncoder
from moda.flow.guidance import Guidance
from moda.flow.sampler import SamplerConfig
from moda.network.checkpoint import load_checkpoint
from moda.network.config import MODALITIES, ModelConfig, coarse_to_fine
from moda.train import TrainConfig, train_motion
from pipelines.evaluation.evaluate import evaluate_sets
from pipelines.evaluation.report import Report
from pipelines.evaluation.scores import ONE, compare
from pipelines.training.corpus import load_corpus, split
from pipelines.training.resume import Resume
from pipelines.training.train import motion_examples

#: Changes of ModelConfig.lite. The plans have as many parameters as it, to a few per cent.
NETWORKS: dict[str, dict] = {
    "lite": {},
    "asymmetric attention": {"condition_attention": "asymmetric"},
    "emotion and identity repeated": {"repeat": 80, "plan": coarse_to_fine(1, 2, 4, rope_late=MODALITIES)},
    "all in one stream": {"plan": coarse_to_fine(0, 0, 13)},
    "all in four streams": {"plan": coarse_to_fine(3, 0, 0)},
    "no prior": {"prior": 0},
}
SAMPLERS = {
    "euler 10": SamplerConfig(solver="euler", steps=10),
    "euler 5": SamplerConfig(solver="euler"),
    "audio guidance 1.5": SamplerConfig(guidance=Guidance(1.5, 1.5)),
    "lip temperature 1": SamplerConfig(lip_temperature=1.0),
}
FIGURES = ("gap r", "closure AUC", "closure recall", "gap CRPS", "amplitude x", "speed x", "head diversity", "yaw std")


def main(
    corpora: list[Path], out: Path, encoder: Path = EMBEDDED, steps: int = 1000, samples: int = 4,
    only: Annotated[list[str] | None, typer.Option()] = None,
) -> None:  # fmt: skip
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    out.mkdir(parents=True, exist_ok=True)
    reports: dict[str, tuple[Report, float]] = {}

    def judge(name: str, weights: Path, config: SamplerConfig) -> None:
        begun = time.perf_counter()
        report = evaluate_sets(corpora, encoder, weights, config, "tune", samples, with_baselines=False)
        reports[name] = report, time.perf_counter() - begun

    chosen = [name for name in NETWORKS if not only or name in only or name == "lite"]
    missing = [name for name in chosen if not _weights(out, name).is_file()]
    if missing:
        training, tuning, _ = split(load_corpus(*corpora))
        listener = AudioEncoder.embedded(path=encoder)
        examples, watched = motion_examples(training, listener, 0), motion_examples(tuning, listener)
        settings = TrainConfig(steps=steps, precision=torch.bfloat16)
        for name in missing:
            config = replace(ModelConfig.lite(listener.token_dim), **NETWORKS[name])
            part = _weights(out, name).with_suffix(".part.safetensors")  # a checkpoint is not yet a variant
            with Resume(part, (config, settings)) as resume:
                train_motion(examples, watched, config, part, settings, resume.keep, resume.kept)
            part.rename(_weights(out, name))
    for name in chosen:
        judge(name, _weights(out, name), SamplerConfig())
    for name, config in SAMPLERS.items():
        judge(name, _weights(out, "lite"), config)

    table = Table("variant", "parameters", "evaluation", *FIGURES, title=f"tune, {samples} samples, difference to lite")
    reference, duration = reports["lite"]
    for name, (report, seconds) in reports.items():
        weights = _weights(out, name if name in NETWORKS else "lite")
        size = f"{load_checkpoint(weights)[0].parameter_count / 1e6:.1f} M"
        if name == "lite":
            cells = [f"{report.summary[ONE][figure].mean:.3f}" for figure in FIGURES]
        else:
            found = compare(report.scores[ONE], reference.scores[ONE])
            cells = [f"{found[f].mean:+.3f} [{found[f].low:+.3f}, {found[f].high:+.3f}]" for f in FIGURES]
        table.add_row(name, size, f"{seconds / duration:.2f} x", *cells)
    Console(width=220).print(table)


def _weights(out: Path, name: str) -> Path:
    return out / f"{name.replace(' ', '_')}.safetensors"


if __name__ == "__main__":
    typer.run(main)
