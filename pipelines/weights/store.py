"""The published weights that are here, and how they get here: fetched from the hub, or imported from a folder.

Nothing is fetched without being asked for. Weights count as here once all their files are, with the hashes expected,
and the networks have been loaded from them strictly; until then they lie under another name. ``weights.json`` beside
the files records where they are from and their SHA-256, which ``verify`` holds them to.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from contracts import ModaError
from moda import replacing, sha256
from pipelines.weights import hub
from pipelines.weights.catalogue import CATALOGUE, Published, PublishedFile, PublishedWeightsError, published

VARIABLE = "MODA_WEIGHTS"
RECORD = "weights.json"


@dataclass(frozen=True)
class Record:
    """Where the weights that are here come from."""

    repository: str
    revision: str  # "" if imported
    origin: Literal["fetched", "imported"]
    when: str  # ISO 8601
    files: dict[str, dict[str, int | str]] = field(default_factory=dict)  # name -> size, sha256

    @property
    def size(self) -> int:
        return sum(int(file["size"]) for file in self.files.values())


@dataclass(frozen=True)
class Download:
    """What a fetch would bring, as the hub answers today."""

    weights: Published
    files: tuple[hub.RemoteFile, ...]

    @property
    def revision(self) -> str:
        return self.files[0].commit

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        folder, left = _staging(self.weights.name), self.size
        for file in self.files:
            for path in (folder / file.name, hub.partial(file, folder)):
                left -= path.stat().st_size if path.is_file() else 0
        return max(left, 0)


@dataclass(frozen=True)
class Imported:
    name: str
    folder: Path
    remarks: tuple[str, ...]


# ---- what is here --------------------------------------------------------------------------------------------------


def weights_folder() -> Path:
    """Where weights are kept: the folder in MODA_WEIGHTS, or one in the user's cache. Raises PublishedWeightsError for
    a user who has no home folder."""
    given = os.environ.get(VARIABLE)
    try:
        folder = Path(given).expanduser() if given else user_cache_path("moda") / "weights"
        if not str(folder).startswith("~"):
            return folder
    except RuntimeError:
        pass
    raise PublishedWeightsError(f"there is no home folder to keep weights in; set {VARIABLE} to a folder")


def find_weights(name: str) -> Path:
    """The folder of weights that are here and whole, by their sizes. Raises PublishedWeightsError."""
    if read_record(name) is None:
        raise PublishedWeightsError(
            f"the weights {name} are not here; `moda weights fetch {name}` fetches them, "
            "`moda weights import DIR` takes files that you have"
        )
    return weights_folder() / name


def read_record(name: str) -> Record | None:
    """Of weights that are here; None where they are not. Raises PublishedWeightsError for those that are damaged."""
    folder = weights_folder() / published(name).name
    if not (folder / RECORD).is_file():
        return None
    try:
        record = Record(**json.loads((folder / RECORD).read_text("utf-8")))
        whole = all((folder / file).stat().st_size == known["size"] for file, known in record.files.items())
        whole = whole and all(isinstance(known["sha256"], str) for known in record.files.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise PublishedWeightsError(f"the weights {name} in {folder} are damaged; `moda weights fetch {name}`")
    return record


def verify_weights(name: str) -> Record:
    """Hash every file again and load the networks; no network is asked. Raises a ModaError."""
    folder, record = find_weights(name), read_record(name)
    assert record is not None
    for file, known in record.files.items():
        if sha256(folder / file) != known["sha256"]:
            raise PublishedWeightsError(
                f"{folder / file} was changed since it was {record.origin}; `moda weights fetch {name}` replaces it"
            )
    CATALOGUE[name].load(folder)
    return record


def here() -> list[str]:
    """The names of the weights that are here, whole or damaged."""
    try:
        folder = weights_folder()
    except PublishedWeightsError:
        return []
    return [name for name in CATALOGUE if (folder / name / RECORD).is_file()]


def summary() -> str:
    """Which weights are here, in one line. Raises PublishedWeightsError for those that are damaged."""
    found = [name for name in here() if read_record(name)]
    return f"{', '.join(found) or 'none'} in {weights_folder()}; none is needed"


# ---- from the hub --------------------------------------------------------------------------------------------------


def look_up_weights(name: str) -> Download:
    """Ask the hub what a fetch would bring. Raises HubError, and PublishedWeightsError for other files than known."""
    weights = published(name)
    revision, files = weights.revision or _fetched_revision(name) or "main", []
    for file in weights.files:
        files.append(hub.look_up(weights.repository, file.path, revision))
        revision = files[0].commit  # all of one commit
        if file.sha256 not in (None, files[-1].digest) and files[-1].in_lfs:
            raise _unexpected(file)
    return Download(weights, tuple(files))


def _fetched_revision(name: str) -> str | None:
    """That of the first fetch, which a later one keeps to."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return json.loads((weights_folder() / name / RECORD).read_text("utf-8"))["revision"] or None
    return None


def _unexpected(file: PublishedFile) -> PublishedWeightsError:
    return PublishedWeightsError(f"the hub has another {file.path} than is known, which is not taken; update moda")


def fetch_weights(download: Download) -> Path:
    """Fetch what :func:`look_up_weights` found, or the rest of it; the folder. Raises a ModaError."""
    weights, staged = download.weights, _staging(download.weights.name)
    staged.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(staged).free
    if room < download.left:
        raise PublishedWeightsError(
            f"{download.left / 1e6:,.0f} MB are to be fetched and {room / 1e6:,.0f} MB are free in {weights_folder()}; "
            f"free some, or set {VARIABLE} to another folder"
        )
    with _alone(weights.name):
        for known, file in zip(weights.files, download.files, strict=True):
            path = hub.fetch(file, staged)
            if not file.in_lfs and known.sha256 not in (None, sha256(path)):
                path.unlink()
                raise _unexpected(known)
        for leftover in staged.glob(".*.part"):  # of other revisions
            leftover.unlink()
        return _install(staged, weights, download.revision)


def _staging(name: str) -> Path:
    """Where files wait until all are there."""
    return weights_folder() / f".{name}.part"


# ---- from a folder -------------------------------------------------------------------------------------------------


def import_weights(folder: Path, name: str | None = None) -> Iterator[Imported]:
    """Take over the weights found under ``folder``, all that are known or those of ``name``; each as it is asked for.

    Files are known by their names, in the layouts in which they are published or all in one folder; a ``.pth`` or
    ``.bin`` may also be a ``.safetensors``. They are hard-linked where that goes, else copied. Raises a ModaError.
    """
    if not folder.is_dir():
        raise PublishedWeightsError(f"there is no folder {folder}; give the one that holds the weights")
    found = {}
    for weights in CATALOGUE.values() if name is None else [published(name)]:
        if (sources := _recognise(weights, folder)) is not None:
            found[weights] = sources
    if not found:
        wanted = name or "any published weights"
        raise PublishedWeightsError(f"{folder} does not hold {wanted}; `moda weights list --files` names the files")
    weights_folder().mkdir(parents=True, exist_ok=True)
    for weights, sources in found.items():
        with _alone(weights.name), tempfile.TemporaryDirectory(prefix=".import-", dir=weights_folder()) as temporary:
            staged = Path(temporary, weights.name)
            staged.mkdir()
            for source in sources:
                _link(source.resolve(), staged / source.name)
            home = _install(staged, weights, "")
        yield Imported(weights.name, home, _deviations(weights, home))


def _recognise(weights: Published, root: Path) -> list[Path] | None:
    """The files of ``weights`` below ``root``, in the layout closest to the published one."""
    paths = [PurePosixPath(file.path).parts for file in weights.files]
    for depth in range(max(map(len, paths))):
        layout = [Path(*parts[min(depth, len(parts) - 1) :]) for parts in paths]
        homes = []
        for home, _, _ in os.walk(root):
            sources = [_spelled(Path(home) / path) for path in layout]
            if None not in sources and _is_of(weights, Path(home)):
                homes.append([source for source in sources if source is not None])
        if len(homes) > 1:
            places = " and ".join(str(sources[0].parent) for sources in homes[:2])
            raise PublishedWeightsError(f"{weights.name} could be in {places}; give the folder of one")
        if homes:
            return homes[0]
    return None


def _spelled(path: Path) -> Path | None:
    """The file, or the safetensors file that may stand in for it."""
    name = path.name.replace("pytorch_model", "model")  # as transformers spells it
    other = path.with_name(name).with_suffix(".safetensors")
    return next((file for file in (path, other) if file.is_file()), None)


def _is_of(weights: Published, folder: Path) -> bool:
    if not weights.architecture:
        return True
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("model_type") == weights.architecture


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _deviations(weights: Published, folder: Path) -> tuple[str, ...]:
    """Which files are not, byte for byte, those that are published."""
    record = read_record(weights.name)
    assert record is not None
    known = {file.name: file.sha256 for file in weights.files}
    unknown = [name for name in record.files if known.get(name) is None]
    other = [name for name, file in record.files.items() if known.get(name) not in (None, file["sha256"])]
    return tuple(
        f"{', '.join(names)}: {what}"
        for names, what in (
            (other, "loads, but is another file than the published one (another version, or changed)"),
            (unknown, "loads, but the hash of the published one is not known here, so its origin is your word"),
        )
        if names
    )


# ---- both ----------------------------------------------------------------------------------------------------------


def _install(staged: Path, weights: Published, revision: str) -> Path:
    """Make the files in ``staged`` the weights that are here, if the networks load from them. Raises a ModaError."""
    try:
        weights.load(staged)
    except ModaError as error:
        why = str(error).replace(f"{staged}{os.sep}", "")
        raise PublishedWeightsError(f"{weights.name} does not load: {why}") from error
    files: dict[str, dict[str, int | str]] = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(staged.iterdir())
        if path.name != RECORD
    }
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = Record(weights.repository, revision, "fetched" if revision else "imported", when, files)
    with replacing(staged / RECORD) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1), "utf-8")
    folder = weights_folder() / weights.name
    before = folder.with_name(f".{weights.name}.{uuid.uuid4().hex[:8]}.old")
    if folder.exists():
        os.replace(folder, before)
    os.replace(staged, folder)
    shutil.rmtree(before, ignore_errors=True)
    return folder


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One fetch or import of these weights at a time."""
    try:
        with FileLock(weights_folder() / f".{name}.lock", timeout=0):
            yield
    except Timeout as error:
        raise PublishedWeightsError(f"{name} is being fetched or imported already; wait for that to end") from error
