"""Makes docs/page.jpg: the web page just after it has made the bundled portrait speak, in a real browser.

    python docs/make_page_picture.py [--second 7.04]

Needs playwright (`make setup-dev`) and Debian's chromium (`apt-get install chromium`). ``--second`` is the moment of
the video that is shown.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "page.jpg"
SIZE = {"width": 1280, "height": 800}  # px
LARGEST = 200_000  # bytes
PATIENCE = 180_000  # ms, on a busy machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--second", type=float, default=7.04)
    second = parser.parse_args().second
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("there is no chromium; apt-get install chromium")
    with serve() as address, sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        with driver.chromium.launch(executable_path=chromium, args=flags) as browser:
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            speak(page)
            show(page, second)
            shot = page.screenshot()
    save(shot)


@contextmanager
def serve() -> Iterator[str]:
    """The page at a free port of this machine; its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "app", "--port", str(port), "--device", "cpu"]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
        try:
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            else:
                log.seek(0)
                sys.exit(log.read().decode())
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def speak(page: Page) -> None:
    """Give the bundled portrait and voice, agree, and wait for the video."""
    page.locator("svg.faces .chosen").wait_for()  # the page opens with the samples; give them all the same
    for place, file in (("#picture", "portrait.jpg"), ("#voice", "voice_en.wav")):
        box = page.locator(place)
        box.get_by_role("button", name="Remove Image").or_(box.get_by_role("button", name="Clear")).first.click()
        page.locator(f"{place} input[type=file]").first.set_input_files(ROOT / "examples" / file)
    page.locator("svg.faces .chosen").wait_for()
    page.get_by_text("7.8 s of speech").wait_for()
    page.get_by_label("I have the right").check()
    page.get_by_role("button", name="Speak", exact=True).click()
    page.wait_for_function("document.querySelector('#video video')?.currentTime > 0.3")


def show(page: Page, second: float) -> None:
    """Stop the video at a moment, away from the mouse."""
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(1000)  # the page itself seeks once: to where its preview was
    stop = "second => { video = document.querySelector('#video video'); video.pause(); video.currentTime = second; }"
    page.evaluate(stop, second)
    page.wait_for_timeout(1500)  # for the last drawings
    if not page.evaluate("second => video.paused && !video.seeking && video.currentTime === second", second):
        sys.exit("the video did not stop where it should; run this again")


def save(shot: bytes) -> None:
    """As the best JPEG that is small enough."""
    picture = Image.open(BytesIO(shot)).convert("RGB")
    for quality in range(90, 40, -5):
        packed = BytesIO()
        picture.save(packed, "JPEG", quality=quality, optimize=True)
        if packed.tell() <= LARGEST:
            break
    PICTURE.write_bytes(packed.getvalue())
    print(f"{PICTURE.relative_to(ROOT)}: {picture.width} x {picture.height}, {packed.tell()} bytes, quality {quality}")


if __name__ == "__main__":
    main()
