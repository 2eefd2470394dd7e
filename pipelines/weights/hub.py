"""Files of the Hugging Face hub: looked up, fetched with resume, and checked against the hub's own hashes.

``hf_hub_download`` goes on where a connection broke, but throws away what an ended program had; here the half file
stays, under a name that says of which content it is half.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts import ModaError
from moda import sha256

LOOK_UP_TIMEOUT = 5.0  # seconds without an answer
INSTEAD = "or fetch the files elsewhere and `moda weights import DIR`"


class HubError(ModaError):
    """What the hub does not give."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at a commit."""

    repository: str
    path: str
    commit: str
    size: int  # bytes
    digest: str  # SHA-256 where git LFS holds the file, git's SHA-1 of a blob where git itself does

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def in_lfs(self) -> bool:
        return len(self.digest) == 64


os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported


def look_up(repository: str, path: str, revision: str) -> RemoteFile:
    """Ask the hub for one file, once and without trying again. Raises HubError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with _one_line(f"{path} of {repository} at {revision}"):
        found = get_hf_file_metadata(hf_hub_url(repository, path, revision=revision), timeout=LOOK_UP_TIMEOUT)
    if found.commit_hash is None or found.etag is None or found.size is None:
        raise HubError(f"what answers for {repository} is not the hub; check proxy and HF_ENDPOINT, {INSTEAD}")
    return RemoteFile(repository, path, found.commit_hash, found.size, found.etag)


def partial(remote: RemoteFile, folder: Path) -> Path:
    """Where that much of it is as has come."""
    return folder / f".{remote.name}.{remote.digest[:16]}.part"


def fetch(remote: RemoteFile, folder: Path) -> Path:
    """The file in ``folder``, whole and with the hub's hash; half a file is gone on with. Raises HubError."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    target, part = folder / remote.name, partial(remote, folder)
    if target.is_file() and has_digest(target, remote.digest):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    if part.is_file() and part.stat().st_size > remote.size:
        part.unlink()
    with open(part, "ab") as file, _one_line(f"{remote.path} of {remote.repository}"):
        http_get(
            hf_hub_url(remote.repository, remote.path, revision=remote.commit), file, resume_size=file.tell(),
            headers=build_hf_headers(), expected_size=remote.size, displayed_filename=remote.name,
        )  # fmt: skip
    if not has_digest(part, remote.digest):
        part.unlink()
        raise HubError(f"{remote.name} came with another hash than the hub states; it is thrown away, fetch it again")
    os.replace(part, target)
    return target


def has_digest(path: Path, digest: str) -> bool:
    """Whether the hub would give this file that hash."""
    if len(digest) == 64:
        return sha256(path) == digest
    content = path.read_bytes()  # what git holds is small
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == digest


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever goes wrong with the hub, said once."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError(f"HF_HUB_OFFLINE is set, so nothing is fetched; unset it, {INSTEAD}") from error
    except (EntryNotFoundError, RevisionNotFoundError) as error:
        raise HubError(f"the hub no longer has {what}; update moda, {INSTEAD}") from error
    except RepositoryNotFoundError as error:  # gated ones are among them
        raise HubError(f"the hub does not give {what}; `hf auth login` if you have access, {INSTEAD}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubError(f"the hub answers {what} with status {status}; try again later, {INSTEAD}") from error
    except HTTPError as error:
        why = str(error) or type(error).__name__
        raise HubError(f"the hub cannot be reached for {what} ({why}); check the network, {INSTEAD}") from error
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise HubError(f"{what} did not come whole; fetch it again, what has come is kept") from error
