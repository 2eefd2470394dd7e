"""Media files, opened so that nothing but the one file is read.

A playlist of a hundred bytes could make FFmpeg read other files or call other machines. So it gets an open file
instead of a name, may open nothing else, and knows only formats that hold sound and pictures themselves.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import av

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.stream import Stream

#: Demuxers of files that name no others; pictures are among them so that they can be told from damaged recordings.
CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,apng,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gif,gxf,h264,hevc,iff,ivf,loas,"
    "m4v,matroska,mjpeg,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nistsphere,nsv,nut,obu,ogg,qcp,rm,swf,truehd,tta,"
    "vc1,voc,vvc,w64,wav,webm,wtv,wv,yuv4mpegpipe,bmp_pipe,gif_pipe,jpeg_pipe,jpegxl_pipe,png_pipe,tiff_pipe,webp_pipe"
)
COVER_ART = av.stream.Disposition.attached_pic


class _Nameless:
    """An open file without its name: by that, FFmpeg would take a picture for one of a numbered series."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell = file.read, file.tell
        self._file = file

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # to before the beginning, or too far to count: as damaged files ask for
            return -1


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """The open container. Raises OSError or av.FFmpegError."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    # Titles and comments are not needed: they may be in any encoding.
    with path.open("rb") as file, av.open(_Nameless(file), "r", options=options, metadata_errors="ignore") as container:
        yield container


def decodable(stream: Stream) -> bool:
    """Whether there is a decoder for the stream, and it is no picture that stands for a recording."""
    return stream.codec_context is not None and not stream.disposition & COVER_ART


def frames_of(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """The decoded frames of a stream; damaged packets are passed over, as players do."""
    with suppress(av.error.InvalidDataError):  # the file ends in the middle of a packet
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
