"""Many videos from one list: checked whole, spread over workers, and taken up again where it was stopped.

    from pipelines.batch.run import (run_batch)
    from pipelines.batch.manifest import (read_manifest)

    if __name__ == "__main__":  # the workers are processes of their own
        for step in run_batch(read_manifest("jobs.csv"), "videos"):
            if step.entry:
                print(step.entry.output, step.entry.status, step.entry.error)

What the output folder holds, and how it survives a kill, is said in pipelines.batch.report; what a manifest may hold,
in pipelines.batch.manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

from moda import sha256
from pipelines.batch.manifest import COLUMNS, Fault, Job, ManifestError, Plan
from pipelines.batch.report import Entry, Report
from pipelines.crews import Crew, Died, Outcome, Processes, Ready, Task
from pipelines.film import check_signing
from pipelines.weights import model_files

ATTEMPTS = 2  # at a video, where the worker dies of it


@dataclass(frozen=True)
class Step:
    """How far a batch is."""

    done: float  # jobs, with the shares of those under way
    jobs: int
    entry: Entry | None = None  # comes once a job, at its end
    known: bool = False  # it was made by an earlier batch


def run_batch(
    plan: Plan, out: str | PathLike[str], crew: Crew | None = None, *, skip_bad: bool = False
) -> Iterator[Step]:
    """Make all videos of a plan in the folder ``out``. Closing the generator stops the batch; it can be taken up again.

    ``crew``: who works, Processes or RayActors; one process if not given. ``skip_bad``: rows with a fault become errors
    in the report, and do not keep the others from being made. A video that cannot be made is an error in the report
    and does not stop the rest.

    Raises:
        ManifestError: there are faults in the plan, and they are not to be skipped. Nothing was begun.
        ReportError: the folder cannot be used, as where another batch is at work in it.
        WorkerError: no worker can begin.
        SigningError: videos are to be signed, and that does not work.
    """
    if not skip_bad and not Path(out).is_dir():
        plan.check()
    with Report(out) as report:
        faults = sorted((*plan.faults, *_conflicts(plan, report)), key=lambda fault: fault.line)
        if faults and not skip_bad:
            raise ManifestError(plan.source, faults)
        if any(job.options.provenance for job in plan.jobs):
            check_signing()  # once, and not with every video
        yield from _Run(plan, report, faults, crew or Processes()).steps()


def _conflicts(plan: Plan, report: Report) -> Iterator[Fault]:
    """Outputs that would take the place of files which no batch made."""
    ours = report.names()
    given = {path.resolve() for job in plan.jobs for path in _inputs(job).values()}
    for job in plan.jobs:
        for name in job.outputs:
            path = report.folder / name
            above = (report.folder / parent for parent in Path(name).parents)
            if path.resolve() in given:
                yield Fault(job.line, f"its output {path} is one of the files given, and would be lost; name another")
            elif os.path.lexists(path) and (name not in ours or path.is_dir()):
                yield Fault(job.line, f"{path} is there already, and not of a batch; name another output")
            elif any(parent.exists() and not parent.is_dir() for parent in above):
                yield Fault(job.line, f"the folder of its output {path} is a file; name another output")


class _Run:
    """One batch in an open folder."""

    def __init__(self, plan: Plan, report: Report, faults: Sequence[Fault], crew: Crew) -> None:
        self.plan, self.report, self.faults, self.crew = plan, report, faults, crew
        bad = {fault.line for fault in faults}
        self.jobs = [job for job in plan.jobs if job.line not in bad]
        self.total = len(self.jobs) + len(bad)
        self.finished = 0
        self.shares: dict[int, float] = {}  # of the video under way, by seat
        self.keys: dict[int, str] = {}  # by line
        self.contents: dict[Path, str] = {}  # SHA-256 by path

    def steps(self) -> Iterator[Step]:
        report, source = self.report, self.plan.source
        for identity in [i for i, entry in report.entries.items() if not entry.output and entry.source == source]:
            del report.entries[identity]  # faults of an earlier state of the manifest
        for line in dict.fromkeys(fault.line for fault in self.faults):
            texts = [fault.text for fault in self.faults if fault.line == line]
            yield self._end(Entry("error", source=source, line=line, error="; ".join(texts), attempts=0))
        todo = []
        for job in self.jobs:
            try:
                self.keys[job.line] = self._key(job)
            except OSError as error:
                yield self._end(self._entry(job, Outcome(error=f"{error.filename} cannot be read ({error.strerror})")))
                continue
            if (entry := report.made(job.output, self.keys[job.line])) is not None:
                entry = report.entries[entry.identity] = replace(entry, source=source, line=job.line)
                yield replace(self._ended(entry), known=True)
            else:
                todo.append(job)
        if todo:
            yield from self._make(todo)

    def _make(self, todo: list[Job]) -> Iterator[Step]:
        queue, idle = _Queue(todo), set[int]()
        running: dict[int, Job] = {}
        attempts: dict[int, int] = dict.fromkeys((job.line for job in todo), 0)
        try:
            self.crew.start(min(self.crew.count, len(todo)))
            while queue or running:
                for seat, message in self.crew.wait():
                    if isinstance(message, float):
                        self.shares[seat] = message
                        yield self._step()
                        continue
                    self.shares.pop(seat, None)
                    job = running.pop(seat, None)
                    if isinstance(message, Ready | Outcome):
                        idle.add(seat)
                    else:
                        idle.discard(seat)
                    if job is None:
                        continue
                    if isinstance(message, Died) and attempts[job.line] < ATTEMPTS:
                        queue.put_back(job)
                        continue
                    if isinstance(message, Died):
                        says = f"the worker died of it, {ATTEMPTS} times ({message.reason}); is there memory enough?"
                        message = Outcome(error=says)
                    assert isinstance(message, Outcome)  # who is at work is not getting ready
                    yield self._end(self._entry(job, message, attempts[job.line]), job)
                while idle and queue:
                    seat = idle.pop()
                    job = running[seat] = queue.take(seat)
                    attempts[job.line] += 1
                    self.crew.give(seat, self._task(job))
        finally:
            self.crew.close()

    def _parts(self, job: Job) -> list[Path]:
        """Where the files of a job are while they are made."""
        return [self.report.run / f"{job.line}{Path(name).suffix.lower()}" for name in job.outputs]

    def _task(self, job: Job) -> Task:
        options = asdict(job.options)
        paths = [str(path) for path in self._parts(job)]
        if len(paths) > 1:
            options["save_motion"] = paths[1]
        if job.options.head_from is not None:
            options["head_from"] = str(Path(job.options.head_from).absolute())
        return Task(str(job.portrait.absolute()), str(job.audio.absolute()), paths[0], options)

    def _key(self, job: Job) -> str:
        """SHA-256 of all that a video depends on: contents of the files, settings, software. Raises OSError."""
        files = _inputs(job)
        self.contents |= {path: sha256(path) for path in files.values() if path not in self.contents}
        contents = {name: self.contents[path] for name, path in files.items()}
        settings = {name: value for name, value in _settings(job).items() if name not in ("head_from", "save_motion")}
        return hashlib.sha256(
            json.dumps([contents, settings, job.outputs, _software(job.options.weights)]).encode()
        ).hexdigest()

    def _entry(self, job: Job, outcome: Outcome, attempts: int = 0) -> Entry:
        error = re.sub(r"--([a-z]+)( [A-Z])?\b", _column, outcome.error)
        return Entry(
            "error" if error else "done", job.output, error, outcome.warnings, outcome.frames,
            round(outcome.seconds, 3), dict(zip(job.outputs, outcome.hashes, strict=False)), self.plan.source, job.line,
            str(job.portrait), str(job.audio), _settings(job), self.keys.get(job.line, ""), attempts,
        )  # fmt: skip

    def _end(self, entry: Entry, job: Job | None = None) -> Step:
        """Write down what became of a job; a video that was made goes where it belongs."""
        if job is not None and entry.status == "done":
            self.report.publish(entry, self._parts(job))
        else:
            self.report.add(entry)
        return self._ended(entry)

    def _ended(self, entry: Entry) -> Step:
        self.finished += 1
        return replace(self._step(), entry=entry)

    def _step(self) -> Step:
        return Step(self.finished + sum(self.shares.values()), self.total)


class _Queue:
    """Jobs in such an order that a worker meets the same portrait, and the same voice, one after the other."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._groups: OrderedDict[tuple[Any, ...], deque[Job]] = OrderedDict()
        self._held: dict[int, tuple[Any, ...]] = {}  # the group that each seat had last
        voices = {audio: number for number, audio in enumerate(dict.fromkeys(job.audio for job in jobs))}
        for job in sorted(jobs, key=lambda job: voices[job.audio]):
            self._groups.setdefault(self._group(job), deque()).append(job)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self, seat: int) -> Job:
        """The next job for a worker: of its own portrait, else of one that no other has, else of the most wanted."""
        others = {group for other, group in self._held.items() if other != seat}
        free = next((group for group in self._groups if group not in others), None)
        longest = max(self._groups, key=lambda group: len(self._groups[group]))
        own = self._held.get(seat)
        group = own if own is not None and own in self._groups else free or longest
        self._held[seat] = group
        job = self._groups[group].popleft()
        if not self._groups[group]:
            del self._groups[group]
        return job

    def put_back(self, job: Job) -> None:
        self._groups.setdefault(self._group(job), deque()).appendleft(job)

    @staticmethod
    def _group(job: Job) -> tuple[Any, ...]:
        return job.portrait, job.options.face


def _inputs(job: Job) -> dict[str, Path]:
    steered = job.options.head_from
    return {"portrait": job.portrait, "audio": job.audio} | ({} if steered is None else {"head_from": Path(steered)})


def _column(option: re.Match[str]) -> str:
    """What a message calls an option, as a manifest calls it."""
    return f"the column {option[1]}" if option[1] in COLUMNS else option[0]


def _settings(job: Job) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(job.options).items()}


@cache
def _software(weights: str) -> tuple[str, ...]:
    """What a video depends on besides its inputs: the version of moda, and its models."""
    try:
        number = version("moda")
    except PackageNotFoundError:  # run from a checkout that is not installed
        number = ""
    return number, *map(sha256, model_files(weights))
