"""``moda talk``, ``drive`` and ``render``: one video of one portrait; and ``moda faces``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts import FPS
from pipelines.cli.console import progress_bar

if TYPE_CHECKING:
    from pipelines.render import Progress as Step

STAGES = {"audio": "listening", "face": "looking", "track": "tracking", "video": "filming"}

Portrait = Annotated[Path, typer.Argument(help="A picture that shows a face from the front.", show_default=False)]
Out = Annotated[Path, typer.Option("--output", "-o", help="The video, OUT.mp4.", show_default=False)]
OutOrNamed = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The video, OUT.mp4; PORTRAIT_AUDIO.mp4 here if not given."),
]
Frame = Annotated[
    Literal["full", "crop"] | None,
    typer.Option(help="The whole picture at its own resolution, or the square around the head; full if not given."),
]
Size = Annotated[
    int | None,
    typer.Option(help="Side of the crop in pixels, even, 256 to 1024; 512 if not given. Implies --frame crop."),
]
Background = Annotated[
    Literal["still", "follow"], typer.Option(help="Whether the surroundings stay, or give way to the head elastically.")
]
Face = Annotated[
    int | None, typer.Option(min=1, help="Which face moves, as `moda faces` numbers them; the others stay still.")
]
Provenance = Annotated[
    bool, typer.Option("--provenance/--no-provenance", help="Sign into the video that it is synthetic, and how made.")
]
Mark = Annotated[bool, typer.Option("--mark", help="Burn a small visible AI into a corner of the picture.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
SaveMotion = Annotated[Path | None, typer.Option(help="Keep the motion in this .npz; `moda render` plays it.")]


def talk(
    portrait: Portrait,
    audio: Annotated[Path, typer.Argument(help="Speech: any sound file, or a video with sound.", show_default=False)],
    out: OutOrNamed = None,
    emotion: Annotated[
        str, typer.Option(help="happiness:0.8, a timeline 0:neutral,2.5:fear:0.9, or auto: what the portrait shows.")
    ] = "neutral",
    weights: Annotated[
        str, typer.Option(help="lite, moda (see `moda weights`), random-base, or the folder of your own training.")
    ] = "lite",
    sampling: Annotated[
        Literal["default", "published"], typer.Option(help="Sample as the published MoDA does; for its weights only.")
    ] = "default",
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Network evaluations per window, that is 2.56 s of new motion: 1 to 100.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="How hard the speech is followed, 0 to 20; 1: plain.")] = None,
    emotion_guidance: Annotated[float | None, typer.Option(help="How hard the emotion is followed, 0 to 20.")] = None,
    head_motion: Annotated[float, typer.Option(help="How far the head moves, 0 (still) to 2.")] = 1.0,
    blink_rate: Annotated[float, typer.Option(help="How often the eyes blink, 0 (never) to 2 (twice as often).")] = 1.0,
    mouth: Annotated[float, typer.Option(help="How far the mouth opens, 0 (shut) to 2.")] = 1.0,
    expression: Annotated[float, typer.Option(help="How far brows, cheeks and smile go, 0 (at rest) to 2.")] = 1.0,
    look_up: Annotated[
        bool, typer.Option("--look-up", help="Lift the gaze a little, as published; for published weights only.")
    ] = False,
    frame: Frame = None,
    size: Size = None,
    background: Background = "still",
    device: Device = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let torch compile the published renderer: for long videos on a GPU.")
    ] = False,
    head_from: Annotated[
        Path | None, typer.Option(help="A motion of --save-motion, same voice: the head moves as it does there.")
    ] = None,
    save_motion: SaveMotion = None,
    face: Face = None,
    provenance: Provenance = True,
    mark: Mark = False,
) -> None:
    """PORTRAIT speaks AUDIO."""
    from pipelines.film import check_outputs, free_output

    if out is None:
        out = free_output(portrait, audio)
        typer.echo(f"the video will be {out}", err=True)
    check_outputs(out, save_motion, inputs=(portrait, audio))  # before anything heavy is imported
    from pipelines.options import TalkOptions

    options = TalkOptions(
        emotion=emotion, weights=weights, sampling=sampling, seed=seed, steps=steps, guidance=guidance,
        emotion_guidance=emotion_guidance, head_motion=head_motion, blink_rate=blink_rate, mouth=mouth,
        expression=expression, look_up=look_up, frame=frame, size=size, background=background, face=face,
        head_from=head_from, save_motion=save_motion, provenance=provenance, mark=mark,
    )  # fmt: skip
    from pipelines.talk import TalkingHead

    _run(TalkingHead(device, weights, compiled).talk(portrait, audio, out, options), out)


def drive(
    portrait: Portrait,
    video: Annotated[Path, typer.Argument(help="A video of a talking face.", show_default=False)],
    out: Out,
    renderer: Annotated[str, typer.Option(help="mesh, or liveportrait (see `moda weights`).")] = "mesh",
    relative: Annotated[
        bool,
        typer.Option("--relative/--absolute", help="What changes in VIDEO is added to the portrait, or taken over."),
    ] = True,
    region: Annotated[
        Literal["all", "pose", "expression", "lips", "eyes"],
        typer.Option(help="What moves. This, --retarget and --absolute are LivePortrait's."),
    ] = "all",
    retarget: Annotated[
        Literal["none", "eyes", "lips", "both"], typer.Option(help="What is opened as far as it is in VIDEO.")
    ] = "none",
    frame: Frame = None,
    size: Size = None,
    background: Background = "still",
    device: Device = "auto",
    save_motion: SaveMotion = None,
    face: Face = None,
    provenance: Provenance = True,
    mark: Mark = False,
) -> None:
    """PORTRAIT moves as the face in VIDEO does, and has its sound."""
    _check((portrait, video), out, save_motion, (frame, size, background), renderer)
    from pipelines.drive import drive_portrait

    steps = drive_portrait(
        portrait, video, out, frame=frame, size=size, background=background, face=face, save_motion=save_motion,
        provenance=provenance, mark=mark, renderer=renderer, device=device, relative=relative, region=region,
        retarget=retarget,
    )  # fmt: skip
    _run(steps, out)


def render(
    portrait: Portrait,
    motion: Annotated[Path, typer.Argument(help="An .npz of --save-motion.", show_default=False)],
    out: Out,
    audio: Annotated[Path | None, typer.Option(help="The sound.")] = None,
    frame: Frame = None,
    size: Size = None,
    background: Background = "still",
    face: Face = None,
    renderer: Annotated[
        str | None, typer.Option(help="mesh, liveportrait or random; the one that the motion is made for if not given.")
    ] = None,
    device: Device = "auto",
    provenance: Provenance = True,
    mark: Mark = False,
) -> None:
    """PORTRAIT plays a saved MOTION."""
    _check((portrait, motion, *([] if audio is None else [audio])), out, None, (frame, size, background), renderer)
    from pipelines.render import render_motion

    steps = render_motion(
        portrait, motion, out, audio=audio, frame=frame, size=size, background=background, face=face,
        provenance=provenance, mark=mark, renderer=renderer, device=device,
    )  # fmt: skip
    _run(steps, out)


def faces(portrait: Portrait) -> None:
    """List the faces of PORTRAIT: where, how large, how turned, and what speaks against each."""
    from pipelines.film import check_inputs

    check_inputs(portrait)
    from pipelines.faces import judge_faces

    table = Table("face", "box (px)", "size (px)", "pitch, yaw, roll", "verdict")
    for judged in judge_faces(portrait):
        box = "{:.0f}, {:.0f} to {:.0f}, {:.0f}".format(*judged.face.box)
        pose = "{:+.0f}, {:+.0f}, {:+.0f}".format(*judged.face.pose)
        colour = "red" if judged.refusal else "yellow" if judged.warnings else "green"
        verdict = judged.refusal or "; ".join(judged.warnings) or "good"
        table.add_row(str(judged.face.index), box, f"{judged.face.size:.0f}", pose, f"[{colour}]{escape(verdict)}")
    Console().print(table)


def _check(
    inputs: tuple[Path, ...], out: Path, motion: Path | None, framing: tuple[Frame, Size, Background],
    renderer: str | None,
) -> None:  # fmt: skip
    """What can be said before anything heavy is imported. Raises ModaError."""
    from pipelines.film import check_outputs

    check_outputs(out, motion, inputs=inputs)
    from moda.render import Framing
    from pipelines.weights import check_renderer

    Framing(*framing)
    if renderer is not None:
        check_renderer(renderer)


def _run(steps: Iterator[Step], out: Path) -> None:
    """Run a pipeline to its end under a progress bar."""
    count = 0
    with closing(steps), progress_bar(rate=True) as bar:  # type: ignore[type-var]
        task = bar.add_task("starting", total=None, rate="")
        stage = ""
        for step in steps:
            for warning in step.warnings:
                bar.console.print("[yellow]warning:[/]", escape(warning))
            if step.stage != stage:
                stage = step.stage
                bar.reset(task, description=STAGES[stage], total=step.total, rate="")
            if step.stage == "video":
                count = step.done
            speed = bar.tasks[0].speed
            rate = f"{speed:.0f} frames/s" if step.stage == "video" and speed else ""
            bar.update(task, completed=step.done, rate=rate)
    typer.echo(f"{out}: {count} frames, {count / FPS:.2f} s")
