"""The key that signs videos: one of this installation, made at first use, or one of your own."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from platformdirs import user_data_path

from contracts import ModaError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Owner = Literal["this installation", "own certificate"]

CERT_VARIABLE, KEY_VARIABLE = "MODA_SIGNING_CERT", "MODA_SIGNING_KEY"
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no well-defined expiration date
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class SigningError(ModaError):
    """A video that cannot be signed."""


@dataclass(frozen=True)
class Credential:
    """A private key, and the certificates that go with it."""

    owner: Owner
    chain: bytes  # PEM: the signer's certificate, then each issuer's
    key: bytes = field(repr=False)  # PEM, PKCS #8, not encrypted
    algorithm: str  # C2PA's name: es256, es384, es512, ps256 or ed25519

    def __str__(self) -> str:
        where = os.environ.get(KEY_VARIABLE) if self.owner == "own certificate" else installation_file()
        where = where or "which is kept nowhere, as there is no home folder"
        return f"{self.algorithm} with the key of {self.owner}, {where}"

    @property
    def serial(self) -> int:
        """Serial number of the signer's certificate; unique among those of one issuer."""
        return x509.load_pem_x509_certificates(self.chain)[0].serial_number

    @property
    def anchor(self) -> str:
        """PEM of the chain's last certificate: what it hangs on."""
        return x509.load_pem_x509_certificates(self.chain)[-1].public_bytes(Encoding.PEM).decode()


def signing_credential() -> Credential:
    """Your own certificate where one is set, else that of this installation, which is made if there is none yet.

    Raises SigningError.
    """
    return own_credential() or installation_credential() or _make_installation_credential()


@cache
def _passing_credential() -> Credential:
    """One for this process alone: a user without a home folder has no place for a key."""
    return _from_pem(_new_key_and_chain())


def own_credential() -> Credential | None:
    """The certificates in the file MODA_SIGNING_CERT with the key in MODA_SIGNING_KEY, both PEM; None: not set.

    Raises SigningError: one is missing, unreadable, or not of the other; or the certificate is not valid today.
    """
    files = {name: os.environ.get(name) for name in (CERT_VARIABLE, KEY_VARIABLE)}
    if not any(files.values()):
        return None
    for name, file in files.items():
        if not file:
            raise SigningError(f"{name} is not set; {CERT_VARIABLE} and {KEY_VARIABLE} go together")
    chain, key = (_read(name, Path(str(file))) for name, file in files.items())
    try:
        leaf, *_ = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SigningError(f"{CERT_VARIABLE}: {files[CERT_VARIABLE]} holds no PEM certificate") from error
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise SigningError(
            f"{KEY_VARIABLE}: {files[KEY_VARIABLE]} holds no PEM private key that opens without a password"
        ) from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise SigningError(f"the key of {KEY_VARIABLE} is not that of the first certificate in {CERT_VARIABLE}")
    if not leaf.not_valid_before_utc <= datetime.now(UTC) <= leaf.not_valid_after_utc:
        raise SigningError(
            f"the certificate of {CERT_VARIABLE} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}, not today; renew it, or unset both variables"
        )
    return Credential("own certificate", chain, _pem(private), _algorithm(private))


def installation_credential() -> Credential | None:
    """That of this installation; None: none was made so far. Raises SigningError where it is damaged."""
    file = installation_file()
    if file is None:
        return None
    try:
        pem = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SigningError(f"the signing key {file} cannot be read ({error.strerror})") from error
    try:
        return _from_pem(pem)
    except (ValueError, TypeError) as error:
        raise SigningError(f"the signing key {file} is damaged; delete it, and a new one is made") from error


def installation_file() -> Path | None:
    """Where the key of this installation lies, with its certificates; not to be given away. None: a user without a
    home folder, as in some containers."""
    try:
        folder = user_data_path("moda")
    except RuntimeError:
        return None
    return folder / "signing" / "key.pem" if folder.is_absolute() else None


def _from_pem(pem: bytes) -> Credential:
    """Raises ValueError, TypeError."""
    key = load_pem_private_key(pem, password=None)
    chain = b"".join(_certificate(c) for c in x509.load_pem_x509_certificates(pem))
    return Credential("this installation", chain, _pem(key), _algorithm(key))


def _make_installation_credential() -> Credential:
    """Make it whole under another name, then link: of several processes one wins, and all read what it made."""
    file = installation_file()
    if file is None:
        return _passing_credential()
    partial = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(_new_key_and_chain())
                out.flush()
                os.fsync(out.fileno())
            with suppress(FileExistsError):
                os.link(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SigningError(
            f"the signing key cannot be kept as {file} ({error.strerror}); make that folder writable, or set "
            f"{CERT_VARIABLE} and {KEY_VARIABLE}"
        ) from error
    credential = installation_credential()
    assert credential is not None
    return credential


def _new_key_and_chain() -> bytes:
    """PEM of a fresh P-256 key, its certificate, and that of an authority whose own key is forgotten at once.

    C2PA does not accept self-signed signers, hence the authority; e-mail protection is one of the uses it accepts.
    """
    key, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    number = uuid.uuid4().hex[:8]  # tells installations apart, and nothing about them

    def certificate(title: str, owner: ec.EllipticCurvePrivateKey, ca: bool) -> x509.CertificateBuilder:
        name, issuer = (
            x509.Name([
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "moda"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{what} {number}"),
            ])
            for what in (title, "moda authority")
        )  # fmt: skip
        public = owner.public_key()
        usage = x509.KeyUsage(
            digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return (
            x509.CertificateBuilder(issuer, name, public, x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))  # clocks differ
            .not_valid_after(FOREVER)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )

    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = certificate("moda installation", key, ca=False).add_extension(purpose, critical=False)
    root = certificate("moda authority", authority, ca=True)
    return _pem(key) + b"".join(_certificate(c.sign(authority, hashes.SHA256())) for c in (leaf, root))


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SigningError(
        f"the key of {KEY_VARIABLE} is none that C2PA signs with; use P-256, P-384, P-521, RSA or Ed25519"
    )


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _read(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SigningError(f"{variable}: {file} cannot be read ({error.strerror})") from error
