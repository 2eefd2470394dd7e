"""Where a video comes from, signed into it (C2PA), and read back.

A signature proves that nothing was changed since, and which key made it: not who holds the key, and not that videos
without one are real. No network is asked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from contracts import ModaError
from moda import replacing, sha256
from pipelines.film.credentials import (
    Credential,
    Owner,
    SigningError,
    installation_credential,
    own_credential,
    signing_credential,
)

if TYPE_CHECKING:
    from contracts import SourceFace, StrPath

    Setting = str | int | float | bool | None

#: IPTC's term for what a trained model made.
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ACTIONS, GENERATION = "c2pa.actions.v2", "moda.generation"  # the labels of what is asserted
MP4 = "video/mp4"
_SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"bmff_hash_exclude_free_and_skip_boxes": False},
    # Hashed piece by piece, and passed on by way of a temporary file: memory does not grow with the video.
    "core": {"merkle_tree_chunk_size_in_kb": 1024, "backing_store_memory_threshold_in_mb": 32},
}
_SMALLEST_GIF = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
_REASONS = {
    "assertion.bmffHash.mismatch": "picture, sound or their order were changed after it was signed",
    "assertion.hashedURI.mismatch": "what it claims was changed after it was signed",
    "claimSignature.mismatch": "what it claims was changed after it was signed",
    "signingCredential.expired": "the certificate it was signed with has run out",
}
_SIGNERS = {"this installation": "this installation of moda", "own certificate": "the certificate that is set up here"}


class ProvenanceError(ModaError):
    """A file that cannot be asked where it comes from."""


@dataclass(frozen=True)
class Claim:
    """How a video was made. Neither the files it was made from nor their names are in it."""

    task: str  # talk, drive or render
    inputs: Mapping[str, str]  # what it was, such as "audio" -> SHA-256 of the file, hex
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def of(
        cls, task: str, face: SourceFace, files: Mapping[str, StrPath | None], settings: Mapping[str, Setting]
    ) -> Claim:
        """Of a face and the other files, None for those that were not given. Raises OSError."""
        inputs = {"portrait": face.sha256} if face.sha256 else {}
        for what, path in files.items():
            if path is not None:
                inputs[what] = sha256(path)
        return cls(task, inputs, settings)


@dataclass(frozen=True)
class Verdict:
    """What a file claims of itself, and whether that holds."""

    state: Literal["valid", "invalid", "unsigned"]
    signer: Owner | Literal["unknown"] = "unknown"
    certificate: str = ""  # what it calls itself; anybody can make one of any name
    software: str = ""
    synthetic: bool = False  # it says that a trained model made it
    when: str = ""  # ISO 8601, by the clock of the machine that signed
    claim: Claim | None = None  # of videos that moda made
    reasons: tuple[str, ...] = ()  # why it does not hold

    @property
    def valid(self) -> bool:
        return self.state == "valid"

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words: the verdict; then what is claimed, where there is a claim."""
        if self.state == "unsigned":
            return ("unsigned: it does not say where it comes from. It never did, or what it said was removed.",)
        if self.state == "invalid":
            verdict = f"invalid: {'; '.join(self.reasons)}. What it claims cannot be relied on."
        elif self.signer == "unknown":
            verdict = (
                f"valid: not changed since it was signed, by a certificate that calls itself {self.certificate!r} and "
                "is not known here. Whose that is, is not proven."
            )
        else:
            verdict = f"valid: not changed since it was signed by {_SIGNERS[self.signer]}."
        told = []
        if self.software:
            kind = "synthetic media" if self.synthetic else "media not said to be synthetic"
            told.append(f"{kind}, made by {self.software}" + (f" at {self.when}" if self.when else ""))
        if self.claim is not None:
            settings = (f"{name}={value}" for name, value in self.claim.settings.items() if value is not None)
            told.append(" ".join([f"task: {self.claim.task}", *settings]))
            told += [f"{what}: sha256 {digest}" for what, digest in self.claim.inputs.items()]
        return tuple("".join(c if c.isprintable() else "?" for c in line) for line in (verdict, *told))


def check_signing() -> None:
    """Have a certificate of your own sign next to nothing, so that a bad one is known before any work is done.

    Raises SigningError. What is wrong with the key of this installation is no reason not to make a video.
    """
    if own_credential() is not None:
        rehearse_signing()


def rehearse_signing() -> Credential:
    """Sign next to nothing; what it is signed with. Raises SigningError."""
    return _sign(io.BytesIO(_SMALLEST_GIF), io.BytesIO(), "image/gif", Claim("rehearsal", {}))


def sign(video: StrPath, claim: Claim) -> None:
    """Put a signed claim into an MP4. It stays as it was if that fails; there must be room for a second copy.

    Raises SigningError.
    """
    try:
        with replacing(Path(video)) as signed, open(video, "rb") as source, open(signed, "w+b") as target:
            _sign(source, target, MP4, claim)
    except OSError as error:
        raise SigningError(error.strerror or str(error)) from error


def _sign(source: BinaryIO, target: BinaryIO, kind: str, claim: Claim) -> Credential:
    """Write ``source``, of MIME type ``kind``, to ``target`` with a signed claim; what it is signed with."""
    software = {"name": "moda", "version": _version()}
    created = {
        "action": "c2pa.created",
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "digitalSourceType": SYNTHETIC,
        "softwareAgent": software,
    }
    manifest = {
        "claim_generator_info": [software],
        "format": kind,
        "assertions": [
            {"label": ACTIONS, "created": True, "data": {"actions": [created]}},
            {"label": GENERATION, "created": True, "kind": "Json", "data": asdict(claim)},
        ],
    }
    try:
        import c2pa  # here, as a library that does not load must cost the signature and not the video

        credential = signing_credential()
        info = c2pa.C2paSignerInfo(credential.algorithm.encode(), credential.chain, credential.key, None)
        with (
            c2pa.Context.from_dict(_SETTINGS) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(manifest, context=context) as builder,
        ):
            builder.sign(signer, kind, source, target)
    except SigningError:
        raise
    except Exception as error:  # whatever it is, the video is there and not to be lost
        raise SigningError(_one_line(error)) from error
    return credential


def verify(video: StrPath) -> Verdict:
    """What an MP4 claims of where it comes from, and whether that holds.

    Raises ProvenanceError: no such file, no MP4, or a C2PA library that does not load.
    """
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise ProvenanceError(f"the C2PA library does not load ({error}); reinstall c2pa-python") from error

    known = _known_credentials()
    trust = {"trust": {"user_anchors": "".join(credential.anchor for credential in known)}} if known else {}
    try:
        with open(video, "rb") as file:
            if file.read(8)[4:] != b"ftyp":
                raise ProvenanceError(f"{video} is not an MP4; those that moda makes are what it can verify")
            file.seek(0)
            with c2pa.Context.from_dict(_SETTINGS | trust) as context:
                reader = c2pa.Reader.try_create(MP4, file, context=context)
                if reader is None:
                    return Verdict("unsigned")
                with reader:
                    report = json.loads(reader.json())
    except OSError as error:
        raise ProvenanceError(f"{video} cannot be read ({error.strerror}); check the path") from error
    except c2pa.C2paError as error:
        elsewhere = "what it claims lies on another machine, and that is not asked"
        damaged = f"the file or what it claims is damaged ({_one_line(error)})"
        return Verdict("invalid", reasons=(elsewhere if str(error).startswith("Remote:") else damaged,))
    try:
        return _verdict(report, known)
    except (KeyError, IndexError, TypeError, AttributeError):  # anybody may have written it
        return Verdict("invalid", reasons=("what it claims is not in the form that it should have",))


def _verdict(report: dict[str, Any], known: list[Credential]) -> Verdict:
    """Of the report of c2pa, which trusts the anchors of ``known``."""
    manifest, state = report["manifests"][report["active_manifest"]], report["validation_state"]
    asserted = {assertion["label"]: assertion["data"] for assertion in manifest.get("assertions", [])}
    signature = manifest.get("signature_info", {})
    signers = [
        credential.owner for credential in known if str(credential.serial) == signature.get("cert_serial_number")
    ]
    software, created = manifest.get("claim_generator_info", [{}])[0], _creation(asserted)
    return Verdict(
        state="invalid" if state == "Invalid" else "valid",
        signer=signers[0] if state == "Trusted" and signers else "unknown",  # one authority signs many certificates
        certificate=signature.get("common_name") or signature.get("issuer") or "",
        software=f"{software.get('name', '')} {software.get('version', '')}".strip(),
        synthetic=created.get("digitalSourceType") == SYNTHETIC,
        when=created.get("when", ""),
        claim=_claim(asserted.get(GENERATION)),
        reasons=_faults(report) if state == "Invalid" else (),
    )


def _creation(asserted: dict[str, Any]) -> dict[str, Any]:
    """What is asserted of how the file came into being."""
    lists = (data.get("actions", []) for label, data in asserted.items() if label.startswith("c2pa.actions"))
    actions = (action for actions in lists for action in actions)
    return next((action for action in actions if action.get("action") == "c2pa.created"), {})


def _faults(report: dict[str, Any]) -> tuple[str, ...]:
    """What speaks against the file, in plain words where there are any, each once."""
    faults = [fault for fault in report.get("validation_status", []) if fault["code"] != "signingCredential.untrusted"]
    reasons = [_REASONS.get(fault["code"]) or fault.get("explanation") or fault["code"] for fault in faults]
    return tuple(dict.fromkeys(reasons))


def _claim(data: Any) -> Claim | None:
    """Back from an assertion, which somebody else may have written."""
    match data:
        case {"task": str(task), "inputs": dict(inputs), "settings": dict(settings)}:
            return Claim(task, inputs, settings)
    return None


def _known_credentials() -> list[Credential]:
    """Those whose signatures are known here. One that is broken knows none."""
    known = []
    for find in (installation_credential, own_credential):
        with suppress(SigningError):
            if (credential := find()) is not None:
                known.append(credential)
    return known


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _version() -> str:
    try:
        return version("moda")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"
