"""What may be opened: real containers, and nothing they name."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from contracts import SAMPLE_RATE, ModaError
from encoders.audio.media import load_audio, probe_audio
from encoders.face.footage import Pictures, watch
from encoders.face.track import track_video
from tests.media_support import tone, write_sound, write_video, write_wav

READERS = [load_audio, probe_audio, track_video, watch, Pictures]

#: Files that would make FFmpeg read ``{target}``.
LISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "voice.wav": "ffconcat version 1.0\nfile {target}\n",
    "call.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "manifest.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" '
    'bandwidth="9"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "film.mp4": "#EXTM3U\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "page.txt": "a text, which FFmpeg would draw as a film\n" * 50,
    "subtitles.srt": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_makes_nothing_else_be_read(tmp_path: Path, name: str, read) -> None:
    target = write_sound(tmp_path / "target.mp4", tone(1, SAMPLE_RATE), "aac", SAMPLE_RATE)
    (tmp_path / name).write_text(LISTS[name].format(target=target.name))
    with pytest.raises(ModaError) as refusal:
        read(tmp_path / name)
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)


@pytest.mark.parametrize("read", READERS)
def test_nobody_is_called(tmp_path: Path, read) -> None:
    calls = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in ("list.m3u8", "list.ffconcat"):
            (tmp_path / name).write_text(LISTS[name].format(target=f"http://127.0.0.1:{server.server_port}/a.mp4"))
            with pytest.raises(ModaError):
                read(tmp_path / name)
    finally:
        server.shutdown()
        server.server_close()
    assert calls == []


def test_a_name_is_no_pattern_and_no_protocol(tmp_path: Path) -> None:
    for name in ("http:voice.wav", "%03d.wav", "concat:a.wav|b.wav", "pipe:0.wav", "-i.wav", "sound.m3u8"):
        assert len(load_audio(write_wav(tmp_path / name, tone(1, SAMPLE_RATE)))) == SAMPLE_RATE
    write_video(tmp_path / "a.mp4").rename(tmp_path / "cut%02d.png")
    assert sum(1 for _ in Pictures(tmp_path / "cut%02d.png")) == 5


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_titles_in_any_encoding(tmp_path: Path, suffix: str) -> None:
    import av

    path = tmp_path / f"film.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Title with Zeichen"
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Zeichen", b"Zeich\xe9n"))
    assert sum(1 for _ in Pictures(path)) == 3
