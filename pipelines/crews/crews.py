"""Crews of a batch: they hand tasks to workers and say what becomes of them. Processes here, or Ray actors anywhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any, Protocol

from contracts import ModaError
from pipelines.crews.worker import ONE_THREAD, Outcome, Task, Worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

FALSE_STARTS = 3  # workers in a row that may die before they are ready
PATIENCE = 1.0  # s that wait() waits


class WorkerError(ModaError):
    """Workers that cannot begin."""


@dataclass(frozen=True)
class Ready:
    """The models are loaded."""


@dataclass(frozen=True)
class Died:
    """The worker is gone, and its task with it; another one takes its seat, and says Ready."""

    reason: str


Message = Ready | float | Outcome | Died  # a float is the done share of the task


class Crew(Protocol):
    """Workers in numbered seats."""

    count: int

    def start(self, seats: int) -> None:
        """Begin with so many workers; each will say Ready."""

    def give(self, seat: int, task: Task) -> None:
        """Have a worker that has said Ready, or an Outcome, carry out a task."""

    def wait(self) -> list[tuple[int, Message]]:
        """The next messages by seat; none after a while without. Raises WorkerError."""

    def close(self) -> None:
        """End all workers at once, whatever they are at."""


@dataclass
class _Starts:
    """Counts the workers that died before they were ready, for a crew not to start others for ever."""

    failed: int = 0

    def fail(self, reason: str) -> None:
        self.failed += 1
        if self.failed == FALSE_STARTS:
            raise WorkerError(
                f"{self.failed} workers ended before they were ready ({reason}); if memory ran out, use fewer; a script"
                " that makes a batch needs `if __name__ == '__main__':`"
            )


def _begin(worker: Callable[[str], Any], device: str) -> tuple[Any, Ready | WorkerError]:
    """The worker, None where it cannot begin, and what to say of it."""
    try:
        return worker(device), Ready()
    except Exception as error:
        kind = "" if isinstance(error, ModaError) else f"{type(error).__name__}: "
        return None, WorkerError(f"{kind}{error}")


# ---- processes


@dataclass
class _Seat:
    process: SpawnProcess
    pipe: Connection
    ready: bool = False


@dataclass
class Processes:
    """Workers as processes of this machine; ``worker`` is called with ``device`` in each of them."""

    count: int = 1
    device: str = "auto"
    worker: Callable[[str], Any] = Worker
    _seats: dict[int, _Seat] = field(default_factory=dict, init=False, repr=False)
    _starts: _Starts = field(default_factory=_Starts, init=False, repr=False)

    def start(self, seats: int) -> None:
        for seat in range(seats):
            self._start(seat)

    def give(self, seat: int, task: Task) -> None:
        with suppress(OSError):  # it died just now: wait() will say so
            self._seats[seat].pipe.send(task)

    def wait(self) -> list[tuple[int, Message]]:
        numbers = {seat.pipe: number for number, seat in self._seats.items()}
        said = [pipe for pipe in numbers if pipe in connection.wait(list(numbers), PATIENCE)]
        return [(numbers[pipe], self._read(numbers[pipe])) for pipe in said]

    def close(self) -> None:
        for seat in self._seats.values():
            seat.process.kill()
        for seat in self._seats.values():
            seat.process.join()
            seat.pipe.close()
        self._seats.clear()

    def _start(self, number: int) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.worker, self.device), daemon=True)
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        self._seats[number] = _Seat(process, ours)

    def _read(self, number: int) -> Message:
        seat = self._seats[number]
        try:
            message = seat.pipe.recv()
        except (EOFError, OSError):
            return self._replace(number)
        if isinstance(message, WorkerError):
            raise message
        if isinstance(message, Ready):
            seat.ready, self._starts.failed = True, 0
        return message

    def _replace(self, number: int) -> Died:
        gone = self._seats.pop(number)
        gone.pipe.close()
        gone.process.join(PATIENCE)  # it should end with its pipe
        gone.process.kill()
        gone.process.join()
        code = gone.process.exitcode or 0
        reason = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if not gone.ready:
            self._starts.fail(reason)
        self._start(number)
        return Died(reason)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: those started meanwhile never hear it, we do afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, worker: Callable[[str], Any], device: str) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # stdout is for what the batch says
    threading.Thread(target=_end_with_parent, daemon=True).start()
    hand, first = _begin(worker, device)
    pipe.send(first)
    with suppress(EOFError, OSError):  # the crew is gone
        while hand is not None:
            pipe.send(hand.run(pipe.recv(), pipe.send))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # in the middle of a video: what is half made is cleared away by the next batch


# ---- Ray


@dataclass
class RayActors:
    """Workers as Ray actors, one processor each, and one GPU where the cluster has any and ``device`` is not the CPU.

    ``address`` is a cluster's, such as ``auto`` or ``ray://host:10001``; ``local`` starts one on this machine. The
    cluster's nodes need moda installed, and must see the files under the same paths.
    """

    count: int = 1
    device: str = "auto"
    address: str = "local"
    worker: Callable[[str], Any] = Worker
    _ray: Any = field(default=None, init=False, repr=False)
    _ours: bool = field(default=False, init=False, repr=False)  # Ray was not running before
    _actors: dict[int, Any] = field(default_factory=dict, init=False, repr=False)
    _calls: dict[Any, int] = field(default_factory=dict, init=False, repr=False)  # what is awaited -> seat
    _ready: set[int] = field(default_factory=set, init=False, repr=False)
    _starts: _Starts = field(default_factory=_Starts, init=False, repr=False)

    def start(self, seats: int) -> None:
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            self._connect()
        for seat in range(seats):
            self._start(seat)

    def give(self, seat: int, task: Task) -> None:
        self._calls[self._actors[seat].run.remote(task)] = seat

    def wait(self) -> list[tuple[int, Message]]:
        done, _ = self._ray.wait(list(self._calls), timeout=PATIENCE)
        return [(seat, self._read(call, seat)) for call in done for seat in [self._calls.pop(call)]]

    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        if self._ours:
            self._ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
        os.environ.setdefault("RAY_worker_niceness", "0")  # on a busy machine its workers would starve with their 15
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())
            raise WorkerError(f"no Ray cluster answers at {self.address} ({reason}); give another address") from error
        self._ours = True
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in its place

    def _start(self, seat: int) -> None:
        gpus = 1 if self.device != "cpu" and self._ray.cluster_resources().get("GPU") else 0
        place = {"num_cpus": 1, "num_gpus": gpus, "runtime_env": {"env_vars": ONE_THREAD}}
        self._actors[seat] = self._ray.remote(_Actor).options(**place).remote()
        self._calls[self._actors[seat].begin.remote(self.worker, self.device)] = seat

    def _read(self, call: Any, seat: int) -> Message:
        try:
            message = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            reason = str(error).strip().splitlines()[0]
            if seat not in self._ready:
                self._starts.fail(reason)
            self._ready.discard(seat)
            self._start(seat)
            return Died(reason)
        except self._ray.exceptions.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            if seat in self._ready:
                return Outcome(error=reason)
            raise WorkerError(f"no worker of Ray can begin ({reason}); install the same moda on every node") from error
        if isinstance(message, WorkerError):
            raise message
        if isinstance(message, Ready):
            self._ready.add(seat)
            self._starts.failed = 0
        return message


class _Actor:
    """A worker in the hands of Ray."""

    def begin(self, worker: Callable[[str], Any], device: str) -> Ready | WorkerError:
        self._hand, first = _begin(worker, device)
        return first

    def run(self, task: Task) -> Outcome:
        return self._hand.run(task)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise WorkerError("Ray is not installed: pip install 'moda[ray]', or leave out --ray") from error
    return ray
