"""Does any damaged file end in more than one line? A table of kinds of files, and what became of mutated ones.

    python bench/mutate.py [--count 1000] [--seed 0] [--keep DIR]

Files of every kind that moda reads are made from examples/, damaged by chance (bits flipped, cut, spliced, lengths and
numbers forged, pictures that unpack to gigabytes), and each is read in a process of its own with two gigabytes to
spare and a minute of time. Good ends are a ModaError of one line, or that it works. ``--keep`` keeps what ended badly.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from contracts import ModaError, Motion
from encoders.audio.lite import LiteConfig
from encoders.audio.media import load_audio, sound_remarks
from encoders.audio.network import LiteEncoder
from encoders.audio.wav2vec import load_lite, save_lite
from encoders.face.image import load_image
from encoders.face.track import track_video
from moda.motion.saved import load_motion, save_motion
from moda.motion.space import MotionSpace
from moda.network.checkpoint import load_checkpoint, load_published, save_checkpoint
from moda.network.config import ModelConfig
from moda.network.model import MMDiT
from moda.network.shapes import published_shapes, random_state
from moda.render.liveportrait.checkpoint import read_tensors
from pipelines.batch.manifest import read_manifest
from pipelines.batch.report import Entry, Report
from pipelines.film import verify

ROOT = Path(__file__).resolve().parents[1]
SPARE, PATIENCE = 2 * 2**30, 60.0  # bytes beyond what is there before; s
ENDS = ("refused", "worked", "crash", "traceback", "hang", "> 2 GB", "half file")
GOOD = ("refused", "worked")
PICTURES = ("jpg", "png", "webp", "gif", "bmp", "tiff", "avif")
SOUNDS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "m4a": "aac", "opus": "libopus", "mka": "aac"}
FILMS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4"}


def read_report(path: Path) -> None:
    folder = path.with_suffix("")
    folder.mkdir()
    path.replace(folder / "report.jsonl")
    try:
        with Report(folder):
            pass
    finally:
        if set(os.listdir(folder)) > {"report.jsonl"}:
            raise FileExistsError("half a file is left")
        shutil.rmtree(folder)


def listen(path: Path) -> None:
    load_audio(path)
    sound_remarks(path)


READERS: dict[str, Callable[[Path], object]] = {
    "picture": load_image, "sound": listen, "footage": track_video, "motion": load_motion,
    "checkpoint": load_checkpoint, "audio encoder": load_lite,
    "published": lambda path: load_published(read_tensors(path)),
    "manifest": read_manifest, "report": read_report, "signed video": verify,
}  # fmt: skip


# ---- whole files


def whole_files(folder: Path) -> dict[str, list[Path]]:
    """Small files of every kind, that can be read."""
    folder.mkdir()
    face = Image.open(ROOT / "examples" / "portrait.jpg").convert("RGB").crop((130, 40, 330, 240))
    pictures = [folder / f"face.{suffix}" for suffix in PICTURES]
    for path in pictures:
        face.save(path)
    sound = load_audio(ROOT / "examples" / "voice_en.wav")[16_000:24_000]
    films = [folder / f"film.{suffix}" for suffix in FILMS]
    for path, codec in zip(films, FILMS.values(), strict=True):
        write_film(path, codec, np.asarray(face))
    sounds = [folder / f"voice.{suffix}" for suffix in SOUNDS]
    for path, codec in zip(sounds, SOUNDS.values(), strict=True):
        write_sound(path, codec, sound)
    return {"picture": pictures, "sound": sounds, "footage": films, **models(folder), **texts(folder)}


def check_whole(whole: dict[str, list[Path]]) -> None:
    """Raises RuntimeError where one cannot be read before it is damaged: all that follows would say nothing."""
    for kind, paths in whole.items():
        for path in paths:
            copy = path.with_name(f"copy{path.suffix}")
            shutil.copyfile(path, copy)
            if (end := trial(READERS[kind], copy)) != "worked":
                raise RuntimeError(f"{path.name} is {end} as it is")
            copy.unlink(missing_ok=True)


def write_film(path: Path, codec: str, picture: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        for shift in (0, 1, 2, 1):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, shift, 0), "rgb24")))
        file.mux(stream.encode(None))


def write_sound(path: Path, codec: str, samples: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        rate = 48_000 if codec == "libopus" else 16_000
        stream = file.add_stream(codec, rate=rate, layout="mono")
        samples = np.repeat(samples, rate // 16_000).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def models(folder: Path) -> dict[str, list[Path]]:
    torch.manual_seed(0)
    ones, zeros = torch.ones(70), torch.zeros(70)
    save_checkpoint(
        folder / "motion.safetensors", MMDiT(ModelConfig.tiny()), MotionSpace("mesh", zeros, ones, ones.clone())
    )
    small = LiteConfig((4,) * 8, hidden=16, layers=1, heads=2, mlp=16, positions=3)
    save_lite(LiteEncoder(small), folder / "lite.safetensors")
    published = random_state(published_shapes(8, 2, 12, 4), torch.Generator().manual_seed(0))
    torch.save(published, folder / "net-200.pth")
    torch.save(published, folder / "old.pth", _use_new_zipfile_serialization=False)
    return {
        "checkpoint": [folder / "motion.safetensors"], "audio encoder": [folder / "lite.safetensors"],
        "published": [folder / "net-200.pth", folder / "old.pth"],
    }  # fmt: skip


def texts(folder: Path) -> dict[str, list[Path]]:
    frames = np.random.default_rng(0).normal(size=(10, 70)).astype(np.float32)
    save_motion(folder / "motion.npz", Motion(frames))
    (folder / "jobs.csv").write_text("portrait,audio,emotion\nface.jpg,voice.wav,fear:0.5\nface.png,voice.mp3,\n" * 3)
    (folder / "jobs.jsonl").write_text('{"portrait": "face.jpg", "audio": "voice.wav", "seed": 3, "mark": true}\n' * 3)
    entries = [Entry("done", f"{n}.mp4", hashes={f"{n}.mp4": "0" * 64}, settings={"seed": n}) for n in range(4)]
    (folder / "report.jsonl").write_text("".join(f"{entry.to_json()}\n" for entry in entries))
    shutil.copyfile(ROOT / "tests" / "pipelines" / "former" / "signed.mp4", folder / "signed.mp4")
    return {
        "motion": [folder / "motion.npz"], "manifest": [folder / "jobs.csv", folder / "jobs.jsonl"],
        "report": [folder / "report.jsonl"], "signed video": [folder / "signed.mp4"],
    }  # fmt: skip


# ---- damage


def mutate(data: bytes, kind: str, chance: random.Random) -> bytes:
    """One or a few damages of the same sort."""
    ways = [_flip, _cut, _splice, _forge]
    if kind in ("manifest", "report", "checkpoint", "audio encoder"):
        ways += [_say] * 4
    if kind == "picture" and data[:4] == b"\x89PNG":
        ways += [_swell] * 2
    if kind == "motion":
        ways += [_inflate]
    return chance.choice(ways)(data, chance)


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    span = len(data) if chance.random() < 0.5 else min(len(data), 256)  # the headers matter most
    for _ in range(chance.choice((1, 2, 8, 64))):
        changed[chance.randrange(span)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _splice(data: bytes, chance: random.Random) -> bytes:
    begin, end, at = (chance.randrange(len(data)) for _ in range(3))
    return data[:at] + data[min(begin, end) : max(begin, end)] + data[at + chance.choice((0, 16, 4096)) :]


def _forge(data: bytes, chance: random.Random) -> bytes:
    """A length or a number that is far too large, or none."""
    form = chance.choice(("<I", ">I", "<Q", ">Q", "<H", ">H"))
    most = 2 ** (8 * struct.calcsize(form)) - 1
    number = struct.pack(form, chance.choice((0, 1, most, most // 2, most // 2 + 1, min(10**9, most))))
    at = chance.randrange(min(len(data), chance.choice((64, 1024, len(data)))))
    return data[:at] + number + data[at + len(number) :]


def _say(data: bytes, chance: random.Random) -> bytes:
    """Another value where a text states a number or a name."""
    values = (b"[" * 20_000, b"null", b"{}", b"1e308", b"-1", b'"\\ud800"', b"9223372036854775808", b"true", b"[[]]")
    places = [at for at, byte in enumerate(data[:20_000]) if byte in b"0123456789"] or [0]
    at = chance.choice(places)
    return data[:at] + chance.choice(values) + data[at + 1 :]


def _swell(data: bytes, chance: random.Random) -> bytes:
    """A PNG that says it is far larger."""
    header = (
        data[12:16]
        + struct.pack(">II", *(chance.choice((200, 20_000, 100_000, 2**31 - 1)) for _ in "hw"))
        + data[24:29]
    )
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _inflate(data: bytes, chance: random.Random) -> bytes:
    """A motion whose zeros unpack to more than a hundred megabytes, or that only claims so."""
    rows, claimed = chance.choice(((500_000, 500_000), (10, 20_000_000), (10, 2**40)))
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "<f4", "fortran_order": False, "shape": (claimed, 70)}
    )  # fmt: skip
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = array.getvalue() + bytes(280 * rows) if name == "frames.npy" else source.read(name)
            target.writestr(name, content)
    return file.getvalue()


# ---- trial


def trial(read: Callable[[Path], object], path: Path) -> str:
    """What became of a file, read in a process of its own."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _be_tried(read, path, theirs)
    os.close(theirs)
    ready, _, _ = select.select([ours], [], [], PATIENCE)
    said = os.read(ours, 4096).decode() if ready else ""
    os.close(ours)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    if not ready:
        return "hang"
    if (used.ru_maxrss - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024 > SPARE or said == "MemoryError":
        return "> 2 GB"
    return "crash" if os.WIFSIGNALED(status) or not said else said


def _be_tried(read: Callable[[Path], object], path: Path, pipe: int) -> None:
    faulthandler.disable()  # a crash is counted, not described
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, size + SPARE))
    try:
        read(path)
        said = "worked"
    except ModaError as error:
        said = "refused" if str(error) and "\n" not in str(error) else "traceback: several lines"
    except MemoryError:
        said = "MemoryError"
    except FileExistsError:
        said = "half file"
    except BaseException as error:
        said = f"traceback: {type(error).__name__}: {error}"[:300]
    os.write(pipe, said.encode("utf-8", "replace"))
    os._exit(0)


def run(count: int, seed: int, keep: Path | None = None) -> dict[str, Counter[str]]:
    """How ``count`` mutated files ended, by kind."""
    chance = random.Random(seed)
    table: dict[str, Counter[str]] = {kind: Counter() for kind in READERS}
    torch.set_num_threads(1)  # a child of a process with more would wait for them
    with tempfile.TemporaryDirectory() as name:
        whole = whole_files(Path(name, "whole"))
        check_whole(whole)
        for number in range(count):
            kind = list(READERS)[number % len(READERS)]
            source = chance.choice(whole[kind])
            path = source.with_name(f"mutant-{number}{source.suffix}")
            data = mutate(source.read_bytes(), kind, chance)
            path.write_bytes(data)
            before = set(os.listdir(source.parent)) - {path.name}
            end, _, why = trial(READERS[kind], path).partition(": ")
            path.unlink(missing_ok=True)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            if left := set(os.listdir(source.parent)) - before:
                end, why = "half file", ", ".join(left)
            table[kind][end] += 1
            if end not in GOOD:
                print(f"{end}: {source.name}, number {number}: {why}", flush=True)
                if keep:
                    (keep / f"{end.strip('> ')}-{number}-{source.name}").write_bytes(data)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    table = run(given.count, given.seed, given.keep)
    print(f"{'kind':16}{'tried':>8}" + "".join(f"{end:>11}" for end in ENDS))
    for kind, ends in table.items():
        print(f"{kind:16}{ends.total():8}" + "".join(f"{ends[end]:11}" for end in ENDS))
    sys.exit(any(ends[end] for ends in table.values() for end in ENDS if end not in GOOD))


if __name__ == "__main__":
    main()
