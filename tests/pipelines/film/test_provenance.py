"""What a video says of where it comes from: signed, read back, and noticed when it is changed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from contracts import FPS, SAMPLE_RATE, Motion, SourceFace
from encoders.face.portrait import encode_face
from moda.motion.saved import save_motion
from pipelines import TalkOptions
from pipelines.cli.main import app
from pipelines.film import credentials
from pipelines.film.credentials import CERT_VARIABLE, KEY_VARIABLE, SigningError, installation_file, signing_credential
from pipelines.film.provenance import (
    GENERATION,
    SYNTHETIC,
    Claim,
    ProvenanceError,
    Verdict,
    check_signing,
    sign,
    verify,
)
from pipelines.film.video import open_video
from pipelines.render import render_motion
from tests.media_support import PORTRAIT, files, read_frames, tone, write_wav

ROOT = Path(__file__).parents[3]
FRAMES = 6
CLAIM = Claim(
    "talk", {"portrait": "ab" * 32, "audio": "cd" * 32}, {"emotion": "happiness:0.8", "seed": 7, "size": None}
)


@pytest.fixture(autouse=True)
def _fresh_installation(tmp_path_factory, monkeypatch):
    """Each test is an installation of its own, without a certificate that is set up."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
    for variable in (CERT_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """An unsigned video with sound."""
    folder = tmp_path_factory.mktemp("plain")
    voice = write_wav(folder / "voice.wav", tone(0.8, SAMPLE_RATE))
    with open_video(folder / "plain.mp4", sound=voice) as video:
        for k in range(20):
            video.write(np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return folder / "plain.mp4"


@pytest.fixture
def video(tmp_path, plain) -> Path:
    """A copy of it, to be signed."""
    (tmp_path / "out.mp4").write_bytes(plain.read_bytes())
    return tmp_path / "out.mp4"


def boxes(data: bytes) -> dict[str, slice]:
    """The top-level boxes of an MP4."""
    found, at = {}, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found[kind.decode()] = slice(at, at + size)
        at += size
    return found


def authority(
    folder: Path, key=None, *, days: int = 30, purpose: bool = True, url: str | None = None
) -> tuple[Path, Path]:
    """A certificate as one buys it, with its issuer's, and its key: two PEM files."""
    key, above = key or ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=60)

    def build(name: str, public, ca: bool) -> x509.CertificateBuilder:
        studio = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio")
        names = [x509.Name([studio, x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("Studio CA", name)]
        return (
            x509.CertificateBuilder(*names, public, x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=60 + days))
            .add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
            .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False)
        )

    leaf = build("Studio Signer", key.public_key(), ca=False)
    if purpose:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    if url:
        methods = (AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS)
        access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method in methods]
        leaf = leaf.add_extension(x509.AuthorityInformationAccess(access), False)
    chain = [built.sign(above, hashes.SHA256()) for built in (leaf, build("Studio CA", above.public_key(), ca=True))]
    certificates, private = folder / "chain.pem", folder / "key.pem"
    certificates.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificates, private


def use(monkeypatch, pair: tuple[Path, Path]) -> None:
    for variable, file in zip((CERT_VARIABLE, KEY_VARIABLE), pair, strict=True):
        monkeypatch.setenv(variable, str(file))


# -- signing and reading back


def test_what_is_signed_is_read_back(video):
    sign(video, CLAIM)
    verdict = verify(video)
    assert (verdict.state, verdict.signer, verdict.reasons) == ("valid", "this installation", ())
    assert verdict.claim == CLAIM
    assert verdict.synthetic
    assert verdict.software.startswith("moda ")
    made = dt.datetime.fromisoformat(verdict.when)
    assert abs(dt.datetime.now(dt.UTC) - made) < dt.timedelta(minutes=5)
    words = "\n".join(verdict.lines)
    assert "signed by this installation" in verdict.lines[0]
    assert "emotion=happiness:0.8 seed=7" in words
    assert "ab" * 32 in words
    assert "size" not in words  # not given


def test_others_read_it_as_the_standard_says(video):
    """What any C2PA reader finds, such as the pages that social networks verify with."""
    sign(video, CLAIM)
    with c2pa.Reader(str(video)) as reader:
        manifest = reader.get_active_manifest()
        report = json.loads(reader.json())
    asserted = {assertion["label"]: assertion for assertion in manifest["assertions"]}
    (action,) = asserted["c2pa.actions.v2"]["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    assert asserted[GENERATION]["data"]["inputs"] == CLAIM.inputs
    assert manifest["claim_generator_info"][0]["name"] == "moda"
    assert manifest["signature_info"]["alg"] == "Es256"
    assert [status["code"] for status in report["validation_status"]] == ["signingCredential.untrusted"]


def test_the_signature_leaves_picture_and_sound_as_they_were(video, plain):
    sign(video, CLAIM)
    signed, unsigned = video.read_bytes(), plain.read_bytes()
    assert signed[boxes(signed)["mdat"]] == unsigned[boxes(unsigned)["mdat"]]
    assert list(boxes(signed)) == ["ftyp", "uuid", *list(boxes(unsigned))[1:]]  # still plays before it has all
    for after, before in zip(read_frames(video), read_frames(plain), strict=True):
        np.testing.assert_array_equal(after, before)
    assert len(signed) - len(unsigned) < 20_000
    assert files(video.parent) == {"out.mp4"}


def test_a_flipped_bit_is_noticed(video):
    sign(video, CLAIM)
    whole = video.read_bytes()
    chance = np.random.default_rng(0)
    for box in ("mdat", "mdat", "mdat", "moov", "free"):
        for at in chance.integers(boxes(whole)[box].start, boxes(whole)[box].stop, 8):
            changed = bytearray(whole)
            changed[at] ^= 1 << chance.integers(8)
            video.write_bytes(changed)
            verdict = verify(video)
            assert verdict.state == "invalid", (box, at)
            assert verdict.reasons
    assert "changed after it was signed" in verdict.lines[0] or "damaged" in verdict.lines[0]


def test_a_flipped_bit_in_the_claim_never_changes_what_holds(video):
    """Some bytes there only fill; whatever else is flipped is noticed, and nothing raises."""
    sign(video, CLAIM)
    whole, said = video.read_bytes(), verify(video)
    chance = np.random.default_rng(1)
    noticed = 0
    for at in chance.integers(boxes(whole)["uuid"].start, boxes(whole)["uuid"].stop, 60):
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.integers(8)
        video.write_bytes(changed)
        verdict = verify(video)
        assert verdict == said or not verdict.valid
        noticed += not verdict.valid
    assert noticed > 15


def test_frames_of_one_video_under_the_claim_of_another_are_noticed(video, plain):
    sign(video, CLAIM)
    with open_video(video.with_name("other.mp4")) as other:
        for k in range(20):
            other.write(np.full((64, 64, 3), 10 * k, np.uint8))
    data, claim = video.with_name("other.mp4").read_bytes(), video.read_bytes()
    start = boxes(data)["ftyp"].stop
    video.write_bytes(data[:start] + claim[boxes(claim)["uuid"]] + data[start:])
    assert verify(video).state == "invalid"


def test_a_video_without_a_claim_says_nothing(plain):
    verdict = verify(plain)
    assert verdict == Verdict("unsigned")
    assert not verdict.valid
    assert "does not say where it comes from" in verdict.lines[0]


def test_what_a_stranger_writes_into_a_claim_is_harmless(video):
    sign(video, Claim("talk\x1b[2J", {"audio": "[red]\n"}, {"emotion": "\x07"}))
    words = "".join(verify(video).lines)
    assert words.isprintable()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nothing.mp4", "No such file"),
        (lambda folder: folder, "cannot be read"),
        (lambda folder: PORTRAIT, "is not an MP4"),
    ],
)
def test_what_is_no_video_is_one_clear_line(tmp_path, make, says):
    with pytest.raises(ProvenanceError, match=says):
        verify(make(tmp_path))


# -- the key of the installation


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_the_key_is_for_its_owner_alone():
    before = os.umask(0)
    try:
        signing_credential()
    finally:
        os.umask(before)
    assert installation_file().stat().st_mode & 0o777 == 0o600
    assert installation_file().parent.stat().st_mode & 0o777 == 0o700
    assert files(installation_file().parent) == {"key.pem"}


def test_the_key_stays_the_same_and_does_not_run_out():
    first = signing_credential()
    assert signing_credential() == first
    leaf, root = x509.load_pem_x509_certificates(first.chain)
    assert leaf.not_valid_after_utc.year == root.not_valid_after_utc.year == 9999
    assert "PRIVATE" not in repr(first)


def test_verifying_makes_no_key(plain):
    verify(plain)
    assert not installation_file().exists()


def test_who_comes_second_takes_the_key_of_the_first(monkeypatch):
    """Another process is done while this one still makes its key."""
    make, others = credentials._new_key_and_chain, []

    def slow() -> bytes:
        monkeypatch.setattr(credentials, "_new_key_and_chain", make)
        others.append(signing_credential())
        return make()

    monkeypatch.setattr(credentials, "_new_key_and_chain", slow)
    assert signing_credential() == others[0]
    assert files(installation_file().parent) == {"key.pem"}


def test_processes_that_start_together_agree():
    code = "import sys; from pipelines.film.credentials import signing_credential; sys.stdin.read(); "
    code += "print(signing_credential().serial)"
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        process.stdin.close()  # go
    serials = {process.stdout.read() for process in processes}
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert serials == {f"{signing_credential().serial}\n"}


def test_another_installation_is_told_from_this_one(video, monkeypatch, tmp_path):
    sign(video, CLAIM)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    for _ in range(2):  # without a key of its own, and with one
        verdict = verify(video)
        assert (verdict.state, verdict.signer) == ("valid", "unknown")
        assert "not known here" in verdict.lines[0]
        assert verdict.certificate.startswith("moda installation ")
        signing_credential()


# -- a certificate of one's own


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_a_certificate_of_your_own_signs(video, tmp_path, monkeypatch, make):
    use(monkeypatch, authority(tmp_path, make()))
    check_signing()
    sign(video, CLAIM)
    assert not installation_file().exists()
    verdict = verify(video)
    assert (verdict.state, verdict.signer, verdict.certificate) == ("valid", "own certificate", "Studio Signer")
    use(monkeypatch, ("", ""))
    assert verify(video).signer == "unknown"


def test_bad_certificates_are_one_clear_line_before_any_work(tmp_path, monkeypatch):
    """Each is found when nothing has been made yet; without one of them, everything is fine."""
    certificate, key = authority(tmp_path)
    locked, other, old, plain, koblitz = (
        tmp_path / name for name in ("locked.pem", "other", "old", "plain", "koblitz")
    )
    secret = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    for folder in (other, old, plain, koblitz):
        folder.mkdir()
    cases = [
        ((certificate, ""), f"{KEY_VARIABLE} is not set"),
        (("", key), f"{CERT_VARIABLE} is not set"),
        ((tmp_path / "nothing.pem", key), "cannot be read"),
        ((certificate, tmp_path / "nothing.pem"), "cannot be read"),
        ((PORTRAIT, key), "holds no PEM certificate"),
        ((certificate, PORTRAIT), "holds no PEM private key"),
        ((certificate, locked), "without a password"),
        ((certificate, authority(other)[1]), "is not that of the first certificate"),
        (authority(old, days=-1), "not today"),
        (authority(plain, purpose=False), "the certificate is invalid"),  # it lacks the purpose
        (authority(koblitz, ec.generate_private_key(ec.SECP256K1())), "none that C2PA signs with"),
    ]
    save_motion(tmp_path / "motion.npz", still(3))
    for pair, says in cases:
        use(monkeypatch, pair)
        with pytest.raises(SigningError, match=says) as caught:
            next(render_motion(PORTRAIT, tmp_path / "motion.npz", tmp_path / "out.mp4"))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.mp4").exists()
    use(monkeypatch, (certificate, key))
    check_signing()


def test_a_broken_certificate_does_not_keep_anyone_from_verifying(video, tmp_path, monkeypatch):
    sign(video, CLAIM)
    use(monkeypatch, (PORTRAIT, PORTRAIT))
    assert verify(video).signer == "this installation"


# -- the pipelines


def still(frames: int) -> Motion:
    motion = np.zeros((frames, 70), np.float32)
    motion[:, 63] = 1
    return Motion(motion)


@pytest.fixture
def inputs(tmp_path) -> dict[str, Path]:
    folder = tmp_path / "inputs"
    folder.mkdir()
    save_motion(folder / "secret_motion.npz", still(FRAMES))
    write_wav(folder / "secret_voice.wav", tone(FRAMES / FPS, SAMPLE_RATE))
    (folder / "secret_face.jpg").write_bytes(PORTRAIT.read_bytes())
    return {
        "portrait": folder / "secret_face.jpg",
        "motion": folder / "secret_motion.npz",
        "audio": folder / "secret_voice.wav",
    }


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return encode_face(PORTRAIT)


@pytest.fixture
def known_face(face, monkeypatch) -> None:
    """The portrait is looked at once for all tests, which takes longest."""
    monkeypatch.setattr("pipelines.render.encode_face", lambda *_, **__: face)


def film(inputs: dict[str, Path], out: Path, **options: object) -> list[str]:
    """The warnings of a video in which hardly anything happens."""
    out.parent.mkdir(exist_ok=True)
    steps = render_motion(inputs["portrait"], inputs["motion"], out, audio=inputs["audio"], size=256, **options)
    return [warning for step in steps for warning in step.warnings]


def test_a_video_names_its_inputs_by_their_hashes_only(inputs, tmp_path):
    out = tmp_path / "outputs" / "out.mp4"
    assert not any("signed" in warning for warning in film(inputs, out))
    verdict = verify(out)
    assert verdict.claim.task == "render"
    assert verdict.claim.inputs == {
        what: hashlib.sha256(path.read_bytes()).hexdigest() for what, path in inputs.items()
    }
    assert verdict.claim.settings == {"frame": None, "size": 256, "background": "still", "face": None, "mark": False}
    data = out.read_bytes()
    assert b"secret" not in data
    assert str(tmp_path).encode() not in data
    assert files(out.parent) == {"out.mp4"}


def test_settings_of_talk_hold_no_paths():
    settings = TalkOptions(
        emotion="fear", seed=3, head_from="secret.npz", save_motion="secret2.npz", mark=True
    ).settings
    assert "secret" not in json.dumps(settings)
    assert (settings["emotion"], settings["seed"], settings["mark"]) == ("fear", 3, True)


def test_the_same_inputs_give_the_same_bytes_before_signing(inputs, known_face, tmp_path, monkeypatch):
    before = []

    def spy(part: Path, claim: Claim) -> None:
        before.append(Path(part).read_bytes())
        sign(part, claim)

    monkeypatch.setattr("pipelines.render.sign", spy)
    first, second, unsigned = (tmp_path / name for name in ("first.mp4", "second.mp4", "unsigned.mp4"))
    film(inputs, first)
    film(inputs, second)
    warnings = film(inputs, unsigned, provenance=False)
    assert before == [unsigned.read_bytes()] * 2
    assert any("not signed" in warning for warning in warnings)
    assert verify(unsigned).state == "unsigned"
    assert first.read_bytes() != second.read_bytes()  # a signature holds the time, and chance


def test_a_failed_signature_keeps_the_video_and_says_so(inputs, known_face, tmp_path):
    installation_file().parent.mkdir(parents=True)
    installation_file().write_text("no key")
    out = tmp_path / "outputs" / "out.mp4"
    (warning,) = (warning for warning in film(inputs, out) if "signed" in warning)
    assert "the video is whole, but could not be signed" in warning
    assert "is damaged; delete it" in warning
    assert len(read_frames(out)) == FRAMES
    assert verify(out).state == "unsigned"
    assert files(out.parent) == {"out.mp4"}


@pytest.mark.parametrize("error", [RuntimeError("na\ntive"), OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("where", ["c2pa.Builder.sign", "pipelines.film.provenance.signing_credential"])
def test_whatever_fails_in_signing_leaves_the_file_as_it_was(video, plain, monkeypatch, where, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(SigningError, match=r"na tive|No space left|MemoryError"):
        sign(video, CLAIM)
    assert video.read_bytes() == plain.read_bytes()
    assert files(video.parent) == {"out.mp4"}


def test_a_library_that_does_not_load_costs_the_signature_only(video, plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(SigningError):
        sign(video, CLAIM)
    with pytest.raises(ProvenanceError, match="reinstall c2pa-python"):
        verify(video)
    assert video.read_bytes() == plain.read_bytes()


def test_a_place_where_no_key_can_be_kept_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(SigningError, match="make that folder writable"):
        signing_credential()


def test_stopping_while_signing_leaves_nothing(inputs, known_face, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(c2pa.Builder, "sign", stop)
    with pytest.raises(KeyboardInterrupt):
        film(inputs, tmp_path / "outputs" / "out.mp4")
    assert files(tmp_path / "outputs") == set()


# -- no network


class _Counter(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """A server that counts: whoever looks up a certificate or fetches a claim comes here."""
    _Counter.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_network_is_asked(video, plain, tmp_path, monkeypatch, server):
    use(monkeypatch, authority(tmp_path, url=f"{server}/status"))
    check_signing()
    sign(video, CLAIM)
    assert verify(video).signer == "own certificate"

    elsewhere = tmp_path / "elsewhere.mp4"  # its claim is only an address
    created = {"action": "c2pa.created", "digitalSourceType": SYNTHETIC}
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]}
    credential = signing_credential()
    info = c2pa.C2paSignerInfo(credential.algorithm.encode(), credential.chain, credential.key, None)
    with (
        c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest) as builder,
        open(plain, "rb") as source, open(elsewhere, "w+b") as target,
    ):  # fmt: skip
        builder.set_no_embed()
        builder.set_remote_url(f"{server}/claim")
        builder.sign(signer, "video/mp4", source, target)
    verdict = verify(elsewhere)
    assert (verdict.state, verdict.valid) == ("invalid", False)
    assert "on another machine" in verdict.lines[0]
    assert _Counter.asked == []
    with pytest.raises(c2pa.C2paError):  # the library left to itself does ask
        c2pa.Reader(str(elsewhere))
    assert _Counter.asked == ["/claim"]


# -- the command


def moda(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80", "NO_COLOR": "1"})


def test_verify_says_it_in_words_and_by_its_exit_code(video, plain):
    sign(video, CLAIM)
    result = moda("verify", video)
    assert result.exit_code == 0, result.output
    assert f"{video}: valid: not changed since it was signed by this installation" in result.stdout
    assert "  task: talk emotion=happiness:0.8 seed=7\n" in result.stdout
    result = moda("verify", plain)
    assert result.exit_code == 1
    assert "unsigned" in result.stdout
    data = bytearray(video.read_bytes())
    data[-100] ^= 1
    video.write_bytes(data)
    result = moda("verify", video)
    assert result.exit_code == 1
    assert "invalid: picture, sound or their order were changed" in result.stdout
    result = moda("verify", video.with_name("nothing.mp4"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_verify_speaks_json(video):
    sign(video, CLAIM)
    said = json.loads(moda("verify", "--json", video).stdout)
    assert said["state"] == "valid"
    assert said["signer"] == "this installation"
    assert said["claim"]["inputs"] == CLAIM.inputs
    assert said["file"] == str(video)
