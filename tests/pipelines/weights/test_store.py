"""Published weights: fetched from a stand-in for the hub, imported, found and verified. No test leaves this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2ForPreTraining
from typer.testing import CliRunner

from moda.render.liveportrait.checkpoint import load_liveportrait
from moda.render.liveportrait.shapes import Widths, published_shapes
from pipelines.cli.doctor import examine
from pipelines.cli.main import app
from pipelines.weights import store as weights
from pipelines.weights.catalogue import CATALOGUE, PublishedWeightsError, load_motion_generator
from pipelines.weights.hub import HubError, RemoteFile, fetch, has_digest, look_up
from pipelines.weights.store import (
    find_weights,
    import_weights,
    look_up_weights,
    read_record,
    summary,
    verify_weights,
)
from tests.moda.network.make_published import FIXTURE, load_golden
from tests.moda.render.make_liveportrait import random_states
from tests.moda.render.test_liveportrait import TINY as NARROW
from tests.moda.render.test_liveportrait import Bomb, save_published

COMMIT = "c0ffee" * 6 + "c0ff"
CHUNK = 4096  # bytes that a fetch writes at a time
TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def moda(*words: object):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


@dataclass
class Hub:
    """What the stand-in serves, and what was asked of it."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # by repository/path
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, repository/path@revision, range
    break_after: int | None = None  # bytes; then only status 503
    ignores_ranges: bool = False
    lies: bool = False  # sends other bytes than its hashes say

    def gets(self) -> list[tuple[str, str]]:
        return [(what, span) for method, what, span in self.asked if method == "GET"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            match = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", self.path)
            assert match
            name, span = f"{match[1]}/{match[3]}", self.headers.get("Range", "")
            state.asked.append((self.command, f"{name}@{match[2]}", span))
            if name not in state.files or match[2] not in ("main", COMMIT, *(w.revision for w in CATALOGUE.values())):
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if state.break_after == 0:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = state.files[name]
            start = int(span.removeprefix("bytes=").split("-")[0]) if span and not state.ignores_ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", COMMIT if match[2] == "main" else match[2])
            if name.endswith(".json"):  # held by git itself
                self.send_header(
                    "ETag", f'"{hashlib.sha1(b"blob %d" % len(content) + bytes(1) + content).hexdigest()}"'
                )
            else:
                self.send_header("ETag", '"of the redirect"')
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            body = bytes(len(content)) if state.lies else content
            if state.break_after:
                self.wfile.write(body[start : state.break_after])
                state.break_after = 0
                self.close_connection = True
            else:
                self.wfile.write(body[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept in this test."""
    monkeypatch.setenv("MODA_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def generator_state() -> dict[str, Tensor]:
    """The published motion generator at toy widths, all its names."""
    state, _ = load_golden(FIXTURE)
    return state


@pytest.fixture(scope="module")
def renderer() -> dict[str, dict[str, Tensor]]:
    """LivePortrait's networks at toy widths, all their names."""
    return random_states(
        published_shapes(Widths(**{**vars(NARROW), "keypoints": 21})), torch.Generator().manual_seed(1)
    )


@pytest.fixture(scope="module")
def generator_file(generator_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("file") / "net-200.pth"
    torch.save(generator_state, path)
    return path.read_bytes()


def save_encoder(folder: Path, kind: str = "hubert", change: Callable[[dict[str, Tensor]], object] = len) -> None:
    """A small published-layout checkpoint, its weight norm spelled as when those were written."""
    network = (
        HubertModel(HubertConfig(**TINY))
        if kind == "hubert"
        else Wav2Vec2ForPreTraining(
            Wav2Vec2Config(**TINY, codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=4)
        )
    )
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = dict(network.state_dict())
    for new, former in old.items():
        state = {name.replace(new, former): value for name, value in state.items()}
    change(state)
    folder.mkdir(parents=True)
    network.config.save_pretrained(folder)
    torch.save(state, folder / "pytorch_model.bin")


def imported(folder: Path, name: str | None = None) -> list[str]:
    return [each.name for each in import_weights(folder, name)]


# ---- fetching ------------------------------------------------------------------------------------------------------


def test_fetched_weights_are_pinned_recorded_and_found(hub: Hub, home: Path, generator_file: bytes) -> None:
    hub.files["lixinyizju/moda/moda/net-200.pth"] = generator_file
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 0, result.output
    for said in ("none stated", "ask them before any other use", "0 MB, from huggingface.co/lixinyizju/moda", COMMIT):
        assert said in result.output
    assert find_weights("moda") == home / "moda"
    record = verify_weights("moda")
    assert (record.origin, record.revision, record.repository) == ("fetched", COMMIT, "lixinyizju/moda")
    digest = hashlib.sha256(generator_file).hexdigest()
    assert record.files == {"net-200.pth": {"size": len(generator_file), "sha256": digest}}
    assert hub.asked[0][1].endswith("@main")
    assert hub.gets() == [(f"lixinyizju/moda/moda/net-200.pth@{COMMIT}", "")]  # the commit that was looked up
    assert load_motion_generator(find_weights("moda")).config.hidden == 8
    assert sorted(path.name for path in home.iterdir()) == [".moda.lock", "moda"]
    assert f"lixinyizju/moda at {COMMIT}" in moda("weights", "list").output

    asked = len(hub.asked)
    result = moda("weights", "fetch", "moda")  # nothing to agree to
    assert result.exit_code == 0 and "is here and as recorded" in result.output
    assert len(hub.asked) == asked

    (home / "moda" / "net-200.pth").write_bytes(b"damaged")
    assert moda("weights", "fetch", "moda", "--yes").exit_code == 0
    assert hub.asked[asked][1].endswith(f"@{COMMIT}")  # not what may be the newest by now


def test_all_files_are_of_one_commit_and_git_hashes_are_checked(hub: Hub, tmp_path: Path) -> None:
    save_encoder(tmp_path / "files")
    for path in (tmp_path / "files").iterdir():
        hub.files[f"TencentGameMate/chinese-hubert-base/{path.name}"] = path.read_bytes()
    result = moda("weights", "fetch", "chinese-hubert-base", "--yes")
    assert result.exit_code == 0, result.output
    assert {what.split("@")[1] for _, what, _ in hub.asked} == {CATALOGUE["chinese-hubert-base"].revision}
    assert sorted(verify_weights("chinese-hubert-base").files) == ["config.json", "pytorch_model.bin"]


@pytest.mark.parametrize("ignores_ranges", [False, True], ids=["ranges", "no ranges"])
def test_an_interrupted_fetch_goes_on_where_it_was(
    hub: Hub, home: Path, generator_file: bytes, ignores_ranges: bool
) -> None:
    hub.files["lixinyizju/moda/moda/net-200.pth"] = generator_file
    hub.break_after = half = 40 * CHUNK
    hub.ignores_ranges = ignores_ranges
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 1 and "status 503; try again later" in result.output
    (part,) = (home / ".moda.part").iterdir()
    assert part.stat().st_size == half
    with pytest.raises(PublishedWeightsError, match="not here"):
        find_weights("moda")
    assert weights.here() == []
    hub.break_after = None
    hub.asked.clear()
    assert look_up_weights("moda").left == len(generator_file) - half
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 0, result.output
    assert "of it still to come" in result.output
    assert hub.gets()[0][1] == f"bytes={half}-"
    assert (find_weights("moda") / "net-200.pth").read_bytes() == generator_file


def test_bytes_with_another_hash_are_thrown_away(hub: Hub, home: Path, generator_file: bytes) -> None:
    hub.files["lixinyizju/moda/moda/net-200.pth"] = generator_file
    hub.lies = True
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 1
    assert "net-200.pth came with another hash than the hub states" in result.output
    assert list((home / ".moda.part").iterdir()) == []
    assert read_record("moda") is None


def test_a_hub_with_other_files_than_known_is_not_fetched_from(hub: Hub) -> None:
    for file in CATALOGUE["liveportrait"].files:
        hub.files[f"KlingTeam/LivePortrait/{file.path}"] = b"other"
    result = moda("weights", "fetch", "liveportrait", "--yes")
    assert result.exit_code == 1
    assert (
        "the hub has another liveportrait/base_models/appearance_feature_extractor.pth than is known" in result.output
    )
    assert hub.gets() == []


@pytest.mark.parametrize("right", [True, False])
def test_what_git_holds_must_have_the_known_hash_too(
    hub: Hub, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_encoder(tmp_path / "files", "wav2vec2")
    entry, files = CATALOGUE["wav2vec2-base"], []
    for file in entry.files:
        content = hub.files[f"{entry.repository}/{file.path}"] = (tmp_path / "files" / file.name).read_bytes()
        digest = hashlib.sha256(content if right or file.path != "config.json" else b"other").hexdigest()
        files.append(replace(file, size=len(content), sha256=digest))
    monkeypatch.setitem(CATALOGUE, entry.name, replace(entry, files=tuple(files)))
    result = moda("weights", "fetch", "wav2vec2-base", "--yes")
    assert result.exit_code == (0 if right else 1), result.output
    assert ("the hub has another config.json than is known" in result.output) == (not right)
    assert (read_record("wav2vec2-base") is not None) == right


def test_fetched_files_that_do_not_load_are_not_here(
    hub: Hub, generator_state: dict[str, Tensor], tmp_path: Path
) -> None:
    name = "talking_head_dit.final_layer.linear.weight"
    torch.save(generator_state | {name: torch.zeros(69, 8)}, tmp_path / "bad.pth")
    hub.files["lixinyizju/moda/moda/net-200.pth"] = (tmp_path / "bad.pth").read_bytes()
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 1 and "moda does not load" in result.output
    assert read_record("moda") is None


def test_a_missing_file_is_named(hub: Hub) -> None:
    with pytest.raises(HubError, match=r"the hub no longer has moda/net-200\.pth of lixinyizju/moda at main"):
        look_up_weights("moda")


def test_git_and_lfs_digests(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    assert has_digest(tmp_path / "file", "ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object
    assert has_digest(tmp_path / "file", hashlib.sha256(b"hello\n").hexdigest())
    assert not has_digest(tmp_path / "file", "0" * 40) and not has_digest(tmp_path / "file", "0" * 64)


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path, no_network: None) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    remote = RemoteFile("some/repository", "file", COMMIT, 6, hashlib.sha256(b"hello\n").hexdigest())
    assert fetch(remote, tmp_path) == tmp_path / "file"


# ---- nothing unasked, nothing waited for ---------------------------------------------------------------------------


def test_without_a_terminal_nothing_is_fetched_unless_told(no_network: None) -> None:
    result = moda("weights", "fetch", "liveportrait")
    assert result.exit_code == 2
    assert "say --yes" in result.output and "522 MB" in result.output and "InsightFace" in result.output


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_at_a_terminal_one_is_asked(
    hub: Hub, generator_file: bytes, answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["lixinyizju/moda/moda/net-200.pth"] = generator_file
    monkeypatch.setattr("pipelines.cli.weights._at_a_terminal", lambda: True)
    result = CliRunner().invoke(app, ["weights", "fetch", "moda"], input=answer)
    assert result.exit_code == code, result.output
    assert "Fetch it?" in result.output
    assert bool(hub.gets()) == (code == 0)
    assert (read_record("moda") is not None) == (code == 0)


def test_offline_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith(
        "error: HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or"
    )


def test_a_host_that_is_not_there_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{revision}/{filename}")

    def sleep(seconds: float) -> None:
        raise AssertionError("it waits to try again")

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(
        HubError, match=r"the hub cannot be reached .*; check the network, or .*`moda weights import DIR`$"
    ):
        look_up("lixinyizju/moda", "moda/net-200.pth", "main")


def test_listing_finding_and_verifying_ask_no_network(
    generator_file: bytes,
    tmp_path: Path,
    renderer: dict,
    no_network: None,
) -> None:
    assert moda("weights", "verify").exit_code == 0
    (tmp_path / "net-200.pth").write_bytes(generator_file)
    save_encoder(tmp_path / "w", "wav2vec2")
    save_published(renderer, tmp_path / "liveportrait")
    assert imported(tmp_path) == ["moda", "liveportrait", "wav2vec2-base"]
    result = moda("weights", "verify")
    assert result.exit_code == 0, result.output
    assert result.output.count("and it loads") == 3
    listing = moda("weights", "list", "--files").output
    for entry in CATALOGUE.values():
        for said in (entry.name, entry.licence, entry.repository, entry.purpose, *(file.path for file in entry.files)):
            assert said in listing
    assert listing.count(": imported 2") == 3 and listing.count(": not here") == 1
    assert "size unknown" in listing and "sha256 unknown" in listing
    assert summary().startswith("moda, liveportrait, wav2vec2-base in ")


def test_the_doctor_says_what_is_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_networks", "_self_test", "_signing"):
        monkeypatch.setattr(f"pipelines.cli.doctor.{slow}", lambda *_: "")
    (finding,) = [finding for finding in examine() if finding.name == "published weights"]
    assert finding.ok and finding.detail == f"none in {home}; none is needed"


# ---- importing -----------------------------------------------------------------------------------------------------


def test_a_clone_of_the_published_repository_is_recognised(
    generator_file: bytes,
    renderer: dict,
    tmp_path: Path,
    home: Path,
) -> None:
    clone = tmp_path / "pretrain_weights"
    (clone / "moda").mkdir(parents=True)
    (clone / "moda" / "net-200.pth").write_bytes(generator_file)
    save_encoder(clone / "audio" / "chinese-hubert-base")
    save_published(renderer, clone / "decode" / "v1" / "first_stage")
    result = moda("weights", "import", clone)
    assert result.exit_code == 0, result.output
    assert result.output.count("is here") == 3
    assert "its origin is your word" in result.output  # of moda's, the hash is not known
    assert "appearance_feature_extractor.pth, motion_extractor.pth, spade_generator.pth" in result.output
    assert "another file than the published one" in result.output
    assert os.path.samefile(home / "moda" / "net-200.pth", clone / "moda" / "net-200.pth")  # no second copy
    assert load_liveportrait(find_weights("liveportrait"))
    assert sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) == [
        "chinese-hubert-base", "liveportrait", "moda",
    ]  # fmt: skip


def test_where_links_do_not_go_files_are_copied(
    generator_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    source = tmp_path / "files" / "net-200.pth"
    source.parent.mkdir()
    (tmp_path / "blob").write_bytes(generator_file)
    source.symlink_to(tmp_path / "blob")  # as the hub's own cache has them
    assert imported(tmp_path / "files") == ["moda"]
    copy = find_weights("moda") / "net-200.pth"
    assert not copy.is_symlink() and copy.read_bytes() == generator_file
    assert not os.path.samefile(copy, source)


def test_the_people_are_told_from_the_animals(renderer: dict, tmp_path: Path) -> None:
    save_published(renderer, tmp_path / "liveportrait")
    save_published({name: {k: v + 1 if v.is_floating_point() else v for k, v in state.items()} for name, state in
                    renderer.items()}, tmp_path / "liveportrait_animals")  # fmt: skip
    assert imported(tmp_path) == ["liveportrait"]
    assert os.path.samefile(
        find_weights("liveportrait") / "motion_extractor.pth",
        tmp_path / "liveportrait" / "base_models" / "motion_extractor.pth",
    )


def test_safetensors_stand_in_for_pickles(generator_state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(generator_state, tmp_path / "net-200.safetensors")
    HubertModel(HubertConfig(**TINY)).save_pretrained(tmp_path / "hubert")
    assert imported(tmp_path) == ["moda", "chinese-hubert-base"]
    assert load_motion_generator(find_weights("moda")).config.hidden == 8
    verify_weights("chinese-hubert-base")


def test_two_that_could_be_meant_are_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "one")
    save_encoder(tmp_path / "two")
    with pytest.raises(
        PublishedWeightsError, match=r"chinese-hubert-base could be in .* and .*; give the folder of one"
    ):
        imported(tmp_path)
    assert imported(tmp_path / "one", "chinese-hubert-base") == ["chinese-hubert-base"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s: s.pop("talking_head_dit.blocks.3.linear2.bias"), "blocks.3.linear2.bias"),
        (lambda s: s.update({"talking_head_dit.blocks.12.linear2.bias": torch.ones(8)}), "blocks.12.linear2.bias"),
        (lambda s: s.update({"talking_head_dit.final_layer.linear.weight": torch.ones(70, 9)}), "head.linear.weight"),
        (lambda s: s.update({"bomb": Bomb()}), "holds more than tensors"),
    ],
    ids=["missing", "foreign", "shape", "code"],
)
def test_other_tensors_than_the_published_are_not_imported(
    generator_state: dict[str, Tensor], change: Callable[[dict], object], what: str, tmp_path: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    state = dict(generator_state)
    change(state)
    torch.save(state, tmp_path / "net-200.pth")
    result = moda("weights", "import", tmp_path)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: moda does not load: ") and what in line and ".import-" not in line
    assert not (tmp_path / "exploded").exists()
    assert read_record("moda") is None and [path.name for path in home.iterdir()] == [".moda.lock"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("encoder.layers.1.final_layer_norm.bias"),
        lambda s: s.update({"encoder.layers.2.final_layer_norm.bias": torch.ones(16)}),
        lambda s: s.update({"encoder.layer_norm.weight": torch.ones(3)}),
    ],
    ids=["missing", "foreign", "shape"],
)
def test_encoders_load_strictly(change: Callable[[dict], object], tmp_path: Path) -> None:
    save_encoder(tmp_path / "hubert", change=change)
    with pytest.raises(PublishedWeightsError, match="chinese-hubert-base does not load"):
        imported(tmp_path)


def test_a_bad_import_leaves_what_was_here(generator_file: bytes, tmp_path: Path) -> None:
    for name, content in (("good", generator_file), ("bad", generator_file[:1000])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net-200.pth").write_bytes(content)
    assert imported(tmp_path / "good") == ["moda"]
    with pytest.raises(PublishedWeightsError, match=r"moda does not load: net-200\.pth cannot be read as weights"):
        imported(tmp_path / "bad")
    assert verify_weights("moda").size == len(generator_file)


def test_what_is_not_there_or_not_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(PublishedWeightsError, match="there is no folder"):
        imported(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PublishedWeightsError, match="does not hold any published weights"):
        imported(tmp_path / "empty")
    with pytest.raises(PublishedWeightsError, match=r"there are no weights 'mona'; choose from moda, liveportrait"):
        find_weights("mona")
    with pytest.raises(PublishedWeightsError, match=r"not here; `moda weights fetch moda` fetches them, .* import DIR"):
        find_weights("moda")


# ---- what is kept --------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(generator_file: bytes, tmp_path: Path, home: Path) -> Path:
    (tmp_path / "net-200.pth").write_bytes(generator_file)
    assert imported(tmp_path) == ["moda"]
    (tmp_path / "net-200.pth").unlink()
    return home / "moda"


def test_a_changed_byte_is_found_by_verify(kept: Path) -> None:
    content = bytearray((kept / "net-200.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (kept / "net-200.pth").write_bytes(content)
    assert find_weights("moda") == kept  # which goes by sizes
    result = moda("weights", "verify", "moda")
    assert result.exit_code == 1 and "was changed since it was imported" in result.output


def test_what_is_damaged_is_fetched_again(kept: Path, hub: Hub, generator_file: bytes) -> None:
    (kept / "net-200.pth").write_bytes(b"x" * len(generator_file))
    hub.files["lixinyizju/moda/moda/net-200.pth"] = generator_file
    result = moda("weights", "fetch", "moda", "--yes")
    assert result.exit_code == 0, result.output
    assert "was changed" in result.output
    assert verify_weights("moda").origin == "fetched"
    assert [path.name for path in kept.parent.iterdir() if path.suffix == ".old"] == []


@pytest.mark.parametrize("fault", ["file", "size", "record"])
def test_damage_is_seen_without_hashing(kept: Path, fault: str) -> None:
    if fault == "file":
        (kept / "net-200.pth").unlink()
    elif fault == "size":
        (kept / "net-200.pth").write_bytes(b"short")
    else:
        (kept / "weights.json").write_text("{}")
    with pytest.raises(PublishedWeightsError, match="are damaged; `moda weights fetch moda`"):
        find_weights("moda")
    assert "moda: damaged" in moda("weights", "list").output
    with pytest.raises(PublishedWeightsError, match="are damaged"):
        summary()
    assert moda("weights", "verify").exit_code == 1


def test_the_folder_can_be_moved(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.rename(tmp_path / "elsewhere")
    assert read_record("moda") is None
    monkeypatch.setenv("MODA_WEIGHTS", str(tmp_path / "elsewhere"))
    assert find_weights("moda") == tmp_path / "elsewhere" / "moda"
    assert verify_weights("moda")
    monkeypatch.delenv("MODA_WEIGHTS")
    assert weights.weights_folder().parts[-2:] == ("moda", "weights")


def test_one_at_a_time(kept: Path, tmp_path: Path, generator_file: bytes) -> None:
    (tmp_path / "net-200.pth").write_bytes(generator_file)
    with (
        weights._alone("moda"),
        pytest.raises(PublishedWeightsError, match="moda is being fetched or imported already"),
    ):
        imported(tmp_path / "kept" / "moda")


# ---- the catalogue -------------------------------------------------------------------------------------------------


def test_the_catalogue_is_well_formed() -> None:
    for entry in CATALOGUE.values():
        names = [file.name for file in entry.files]
        assert len(set(names)) == len(names)  # they lie in one folder
        assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision)
        assert all(file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256) for file in entry.files)
        assert replace(entry, files=()).size == 0


def test_records_are_plain_json(kept: Path) -> None:
    record = json.loads((kept / "weights.json").read_text())
    assert set(record) == {"repository", "revision", "origin", "when", "files"}
    assert record["origin"] == "imported" and record["revision"] == ""
