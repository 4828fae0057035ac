"""Subtitle tracks inside containers, read by the killable child."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.subtitles.subtitle import SubtitleSet

from trichord.media import Decoder
from trichord.media import subtitle_tracks as module
from trichord.speech.tracks import read_tracks

HEADER = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    "Style: Default,Arial,16\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, "
    "MarginV, Effect, Text\n"
)
CUES = ((1.0, 2.5, "Hello,\\Nthere"), (3.0, 4.0, "{\\i1}Bye{\\i0}"))
MILLISECOND = Fraction(1, 1000)


def film(path, *tracks):
    """Five seconds of noise with subtitle tracks, each a codec and a language."""
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 80_000)).astype(np.float32)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000)
        streams = []
        for codec, language in tracks:
            stream = container.add_stream(codec)
            stream.time_base = MILLISECOND
            stream.metadata["language"] = language
            if codec != "dvbsub":  # pictures, which this library cannot write: it stays empty
                stream.codec_context.subtitle_header = HEADER.encode()
                stream.codec_context.time_base = MILLISECOND
                streams.append(stream)
        for first in range(0, 80_000, 1024):
            part = np.ascontiguousarray(noise[:, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, first
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        for stream in streams:
            for number, (start, end, text) in enumerate(CUES):
                length = round((end - start) * 1000)
                line = f"{number},0,Default,,0,0,0,,{text}".encode()
                packet = stream.codec_context.encode_subtitle(SubtitleSet.create(line, 0, length))
                packet.stream, packet.time_base = stream, MILLISECOND
                packet.pts = packet.dts = round(start * 1000)
                packet.duration = length
                container.mux(packet)
    return path


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as one:
        yield one


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mkv", "srt"), ("mkv", "ass"), ("mkv", "webvtt"), ("mp4", "mov_text"), ("mov", "mov_text")],
)
def test_a_text_track_is_read(ending, codec, tmp_path, decoder):
    read, remarks = read_tracks(film(tmp_path / f"a.{ending}", (codec, "eng")), decoder)
    assert read is not None
    assert [(one.start, one.end, one.text) for one in read.segments] == [
        (1.0, 2.5, "Hello, there"),
        (3.0, 4.0, "Bye"),
    ]
    assert read.language == "en"
    assert remarks == []


def test_the_track_in_the_wanted_language_is_read_and_others_are_named(tmp_path, decoder):
    path = film(tmp_path / "a.mkv", ("srt", "eng"), ("dvbsub", "eng"), ("ass", "ger"))
    read, remarks = read_tracks(path, decoder, "de")
    assert read is not None
    assert (read.language, read.engine) == ("de", "track ass")
    assert remarks == [
        "subtitle tracks of pictures are not read: 1 dvb_subtitle",
        "the subrip track in 'en' is not read",
    ]
    assert read_tracks(path, decoder, "fr")[0] is None


def test_more_text_than_an_answer_may_hold_is_refused(tmp_path, monkeypatch):
    from trichord.media.failure import MediaError
    from trichord.media.media_file import open_source
    from trichord.media.plan import Limits

    source = open_source(film(tmp_path / "a.mkv", ("srt", "eng")), Limits())
    monkeypatch.setattr(module, "MOST_LETTERS", 60)
    with pytest.raises(MediaError, match="subtitles of more than 60 letters"):
        module.subtitle_tracks(source)
    source.close()


def test_a_file_that_cannot_be_read_is_named_with_its_status(tmp_path, decoder):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    read, remarks = read_tracks(tmp_path / "a.mp4", decoder)
    assert read is None
    assert remarks == [
        "its subtitle tracks cannot be read: unsupported: its content is of no known media format"
    ]
