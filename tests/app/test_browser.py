"""The page in a real browser, with the real models: Debian's chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.app.server_support import HOST, serve
from tests.media_support import PORTRAIT, synthetic_voice

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PREVIEW = "#preview video"
PATIENCE = 120_000  # ms, on a busy machine
#: Where screenshots go, if anywhere.
SHOTS = os.environ.get("MODA_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: make setup-dev")
    with playwright.sync_playwright() as driver:
        quiet = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        with driver.chromium.launch(executable_path=CHROMIUM, args=quiet) as browser:
            yield browser


def address(port):
    return f"http://{HOST}:{port}/"


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server")) as (_, port):
        yield address(port)


@pytest.fixture
def visit(browser, url):
    """A page that has looked at the sample portrait, and every address that it asked for."""
    contexts = []

    def visited(width=1280, scheme="light", script="", at=url):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.add_init_script(script)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(at)
        page.locator("svg.faces .chosen").wait_for()
        page.get_by_text("s of speech").wait_for()
        return page

    yield visited
    for context in contexts:
        context.close()


def give(page, place, file) -> None:
    page.locator(place).get_by_role("button", name="Remove Image").or_(
        page.locator(place).get_by_role("button", name="Clear")
    ).first.click()
    page.locator(f"{place} input[type=file]").first.set_input_files(file)


def speak(page) -> None:
    page.get_by_label("I have the right").check()
    page.get_by_role("button", name="Speak", exact=True).click()


def plays(page) -> float:
    """Seconds the video has played, once it does."""
    page.wait_for_function("document.querySelector('#video video')?.currentTime > 0.3")
    return page.evaluate("document.querySelector('#video video').currentTime")


def shoot(page, name) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_upload_render_play_and_swap(visit, url, tmp_path):
    page = visit()
    voice = synthetic_voice(tmp_path / "voice.wav", seconds=3)
    give(page, "#picture", PORTRAIT)
    page.locator("svg.faces .chosen").wait_for()
    give(page, "#voice", voice)
    page.get_by_text("3.0 s of speech").wait_for()

    begun = time.monotonic()
    speak(page)
    page.locator(PREVIEW).wait_for()
    print(f"first frame after {time.monotonic() - begun:.2f} s")
    assert plays(page) > 0
    assert page.evaluate("document.querySelector('#video video').duration") == pytest.approx(3, abs=0.1)
    assert page.locator("svg.motion path").count() == 5
    before = page.evaluate("document.querySelector('#video video').currentSrc")

    page.get_by_role("button", name="happiness", exact=True).click()
    page.wait_for_function(
        f"![null, undefined, '', {before!r}].includes(document.querySelector('#video video')?.currentSrc)"
    )
    assert plays(page) > 0
    page.get_by_role("tab", name="Settings").click()
    command = page.locator(".cm-content").first.inner_text().replace("\n", "")
    assert "--emotion happiness" in command and "--head-from moda-neutral.npz" in command

    page.get_by_role("button", name="all eight").click()
    page.wait_for_function("document.querySelector('#video video')?.videoWidth == 1024")
    assert plays(page) > 0
    assert page.asked and all(address.startswith((url, "data:", "blob:")) for address in page.asked)


#: What the preview was like, over and over, until the finished video is there.
WATCH = """() => { window.seen = []; const watch = setInterval(() => {
  const video = document.querySelector("#preview video");
  if (document.querySelector("#video video")?.currentSrc) return clearInterval(watch);
  if (video?.buffered.length) seen.push([video.currentTime, video.buffered.end(0), video.duration, video.videoWidth]);
}, 20); }"""


def test_what_is_filmed_so_far_plays(visit, url, tmp_path):
    """While the rest is made; then the whole video, and neither asks another host for anything."""
    page = visit()
    give(page, "#voice", synthetic_voice(tmp_path / "voice.wav", seconds=12))
    page.get_by_text("12.0 s of speech").wait_for()
    page.evaluate(WATCH)
    speak(page)
    assert plays(page) > 0
    seen = page.evaluate("seen")
    times, ends = [time for time, *_ in seen], [end for _, end, *_ in seen]
    assert sorted(times) == times and sorted(ends) == ends
    assert len(set(ends)) >= 3 and ends[0] < 6 < ends[-1] < 12.1  # it grew from little to much
    assert len(set(times)) >= 3 and times[-1] > times[0]  # and was played meanwhile
    assert seen[-1][2:] == [12, 512]  # s, px
    assert page.locator(PREVIEW).count() == 0
    assert page.evaluate("document.querySelector('#video video').duration") == pytest.approx(12, abs=0.1)
    assert all(address.startswith((url, "data:", f"blob:{url}")) for address in page.asked)


def test_a_browser_that_cannot_play_it_shows_the_newest_frame(visit, tmp_path):
    page = visit(script="delete window.MediaSource")
    give(page, "#voice", synthetic_voice(tmp_path / "voice.wav", seconds=4))
    page.get_by_text("4.0 s of speech").wait_for()
    speak(page)
    frame = page.locator(".screen img")
    first = frame.get_attribute("src")
    page.wait_for_function(f"![undefined, {first!r}].includes(document.querySelector('.screen img')?.src)")
    assert page.locator(PREVIEW).count() == 0
    assert plays(page) > 0


def test_cancel_and_start_another_at_once(visit, tmp_path):
    page = visit()
    give(page, "#voice", synthetic_voice(tmp_path / "long.wav", seconds=60))
    page.get_by_text("60.0 s of speech").wait_for()
    speak(page)
    page.locator(PREVIEW).wait_for()
    begun = time.monotonic()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    assert page.locator(PREVIEW).count() == 0
    give(page, "#voice", synthetic_voice(tmp_path / "short.wav", seconds=1))
    page.get_by_text("1.0 s of speech").wait_for()
    page.get_by_role("button", name="Speak", exact=True).click()
    assert plays(page) > 0  # so short that its frames may pass before they are seen
    print(f"cancelled, and another made and shown, within {time.monotonic() - begun:.2f} s")
    assert page.evaluate("document.querySelector('#video video').duration") == pytest.approx(1, abs=0.1)


def test_two_visitors_at_once_see_their_own(visit, tmp_path):
    with serve(tmp_path, "--concurrency", "2") as (_, port):
        pages = [visit(at=address(port)) for _ in range(2)]
        for page, seconds in zip(pages, (15, 16), strict=True):
            give(page, "#voice", synthetic_voice(tmp_path / f"{seconds}.wav", seconds))
            page.get_by_text(f"{seconds}.0 s of speech").wait_for()
        for page in pages:
            speak(page)
        for page in pages:
            page.wait_for_function("document.querySelector('#preview video')?.videoWidth > 0")
        for page, seconds in zip(pages, (15, 16), strict=True):
            assert plays(page) > 0
            assert page.evaluate("document.querySelector('#video video').duration") == pytest.approx(seconds, abs=0.1)


def test_who_leaves_does_not_hold_up_others(visit, tmp_path):
    first, second = visit(), visit()
    give(first, "#voice", synthetic_voice(tmp_path / "long.wav", seconds=100))
    first.get_by_text("100.0 s of speech").wait_for()
    speak(first)
    first.locator(PREVIEW).wait_for()
    speak(second)
    second.get_by_text("queue: 1/1").wait_for()
    first.close()
    second.locator(PREVIEW).wait_for()  # a hundred seconds of video would outlast our patience


def test_a_cat_is_told_from_a_person(visit, tmp_path):
    page = visit()
    draw_cat().save(tmp_path / "cat.png")
    give(page, "#picture", tmp_path / "cat.png")
    page.get_by_role("alert").filter(has_text="no face was found").wait_for()
    assert page.locator("svg.faces").count() == 0
    speak(page)
    page.locator("#stage [role=alert]").filter(has_text="no face was found").wait_for()


def test_nothing_runs_without_consent(visit):
    page = visit()
    page.get_by_role("button", name="Speak", exact=True).click()
    page.locator("#stage [role=alert]").filter(has_text="say first that you have the right").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_it_fits_and_can_be_used_by_keyboard(visit, width, scheme):
    page = visit(width, scheme)
    page.get_by_role("button", name="Timeline").click()
    page.get_by_role("button", name="Add a row").click()
    page.get_by_label("1. from second").wait_for()
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Seed").wait_for()
    shoot(page, f"page_{width}_{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out at the side
    unnamed = "e => !(e.labels?.length || e.ariaLabel || e.title || e.textContent.trim() || e.type == 'file')"
    controls = "[...document.querySelectorAll('button, input, select, textarea')].filter(e => e.offsetParent)"
    assert page.evaluate(f"{controls}.filter({unnamed}).map(e => e.outerHTML)") == []
    page.get_by_label("neutral", exact=True).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_label("sadness", exact=True).is_checked()
    page.get_by_label("I have the right").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Speak"
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#preview video')?.currentTime > 0.3")
    shoot(page, f"busy_{width}_{scheme}")
    plays(page)
    shoot(page, f"done_{width}_{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def draw_cat() -> Image.Image:
    """A sitting cat, of ellipses."""
    picture = Image.new("RGB", (512, 512), (225, 235, 240))
    draw, fur = ImageDraw.Draw(picture), (125, 115, 110)
    draw.ellipse((130, 260, 380, 540), fill=fur)
    for x in (1, -1):
        draw.polygon([(256 + at * x, y) for at, y in ((106, 190), (91, 60), (16, 140))], fill=fur)
    draw.ellipse((140, 110, 372, 320), fill=fur)
    for x in (205, 307):
        draw.ellipse((x - 28, 160, x + 28, 200), fill=(200, 210, 60))
        draw.ellipse((x - 6, 162, x + 6, 198), fill=(10, 10, 10))
    draw.polygon([(244, 230), (268, 230), (256, 245)], fill=(230, 150, 150))
    return picture
