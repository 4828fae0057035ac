"""Twelve kinds of subtitle files as people have them, and what is refused with its line."""

import json

import pytest

from trichord.speech.cues import SubtitleError
from trichord.speech.sidecars import read_sidecar, sidecars_of
from trichord.speech.subtitles import read_subtitles
from trichord.speech.whisper_json import read_whisper

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello there\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
VTT = (
    "WEBVTT - a title\n\nNOTE a note\nof two lines\n\nSTYLE\n::cue { color: red }\n\nintro\n"
    "00:01.000 --> 00:02.500 align:start\n<v Ann>Hello <00:00:01.500><c>there</c>\n\n"
    "01:00:03.000 --> 01:00:04.000\nBye &amp; <i>bye</i>\n"
)
ASS = (
    "[Script Info]\nTitle: x\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
    "Comment: 0,0:00:00.00,0:00:01.00,Default,not said\n"
    "Dialogue: 0,0:00:01.00,0:00:02.50,Default,{\\k20}Hel{\\k30}lo,\\Nthere\n"
    "Dialogue: 0,0:00:05.00,0:00:06.00,Default,{\\p1}m 0 0 l 10 10\n"
)
TTML = (
    '<?xml version="1.0" encoding="UTF-16"?>\n'
    '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" '
    'ttp:frameRate="25" ttp:tickRate="10000000"><body><div xml:lang="en" begin="10s">\n'
    '<p begin="00:00:01:05" end="2.5s">Hello<br/>there</p>\n'
    '<p begin="30000000t" dur="500ms"><span begin="0s" end="1s">Bye</span></p></div>\n'
    '<div xml:lang="de"><p begin="1s" end="2s">Hallo</p></div></body></tt>'
)
LRC = "[ti:song]\n[offset:+500]\n[00:12.00][00:20.50]La <00:12.50>la\n[00:15.00]Hey\n[00:17.00]\n"


def told(transcript):
    return [(one.start, one.end, one.text) for one in transcript.segments]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


HELLO = [(1.0, 2.5, "Hello there"), (3.0, 4.0, "Bye")]
KINDS = {
    "a BOM": ("a.srt", b"\xef\xbb\xbf" + SRT.encode(), HELLO),
    "UTF-16": ("a.srt", SRT.encode("utf-16"), HELLO),
    "CRLF": ("a.srt", SRT.replace("\n", "\r\n"), HELLO),
    "missing numbers": ("a.srt", SRT.replace("1\n00", "00").replace("2\n00", "00"), HELLO),
    "no blank lines": ("a.srt", SRT.replace("\n\n", "\n"), HELLO),
    "overlapping times": (
        "a.srt", SRT.replace("00:00:03,000", "00:00:02,000"),
        [(1.0, 2.5, "Hello there"), (2.0, 4.0, "Bye")],
    ),
    "HTML tags": (
        "a.srt",
        SRT.replace("Hello", '{\\an8}<font color="red">Hello</font>').replace("Bye", "I <3 <b>you</b>"),
        [(1.0, 2.5, "Hello there"), (3.0, 4.0, "I <3 you")],
    ),
    "negative times": (
        "a.srt", SRT.replace("00:00:01,000", "-00:00:01,000"),
        [(0.0, 2.5, "Hello there"), (3.0, 4.0, "Bye")],
    ),
    "WebVTT": ("a.vtt", VTT, [(1.0, 2.5, "Hello there"), (3603.0, 3604.0, "Bye & bye")]),
    "karaoke": ("a.ass", ASS, [(1.0, 2.5, "Hello, there")]),
    "two languages": ("a.ttml", TTML, [(11.2, 12.5, "Hello there"), (13.0, 13.5, "Bye")]),
    "lyrics": ("a.lrc", LRC, [(11.5, 14.5, "La la"), (14.5, 16.5, "Hey"), (20.0, 25.0, "La la")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_subtitle_file_is_read(kind, tmp_path):
    name, content, expected = KINDS[kind]
    found = told(read_subtitles(written(tmp_path, name, content)))
    assert found == [(pytest.approx(a), pytest.approx(b), text) for a, b, text in expected]


def test_what_is_guessed_or_left_out_is_noted(tmp_path):
    old = read_subtitles(written(tmp_path, "a.srt", SRT.replace("Bye", "Tschüß").encode("cp1252")))
    assert old.segments[1].text == "Tschüß"
    assert old.notes == ("read as Windows-1252: it is not UTF-8",)
    early = SRT.replace("00:00:01,000", "-00:00:09,000").replace("00:00:02,500", "-00:00:08,000")
    assert read_subtitles(written(tmp_path, "b.srt", early)).notes == (
        "1 subtitles before the start of the file are left out",
    )
    german = read_subtitles(written(tmp_path, "c.ttml", TTML), "de")
    assert told(german) == [(1.0, 2.0, "Hallo")]
    assert german.language == "de"
    assert german.notes == ("2 subtitles in another language than de are left out",)


def test_ten_thousand_lines_are_read(tmp_path):
    lines = [
        f"{n + 1}\n{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02},100 --> "
        f"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02},900\nline {n}\n"
        for n in range(10_000)
    ]
    read = read_subtitles(written(tmp_path, "a.srt", "\n".join(lines)))
    assert len(read.segments) == 10_000
    assert told(read)[-1] == (9999.1, 9999.9, "line 9999")


REFUSED = {
    "a.srt": [
        (SRT.replace("00:00:03,000 -->", "soon -->"), "line 6: no times"),
        (SRT.replace("00:00:03,000", "00:00:63,000"), "line 6: no time: 00:63"),
        (SRT.replace("00:00:03,000", "00:00:09,000"), "line 6: a subtitle ends before it starts"),
        ("Dear Sir,\n" + SRT, "line 1: a text without times"),
        ("", "line 1: it has no subtitle"),
        (SRT.encode() + b"\n\x81\x8d", "line 9: its bytes are neither UTF-8 nor"),
    ],
    "a.vtt": [("00:01.000 --> 00:02.000\nHello\n", "line 1: it does not begin with WEBVTT")],
    "a.ass": [
        (ASS.replace("0:00:02.50", "later"), "line 7: no time: 'later'"),
        (ASS.replace("Default,{\\k20}Hel{\\k30}lo,\\Nthere", "x"), "line 7: a Dialogue with 4 of 5"),
        (ASS.replace("Start, ", ""), "line 5: its Format lacks"),
    ],
    "a.ttml": [
        (TTML.replace("</p>", "", 1), "line 4: no XML: mismatched tag"),
        (TTML.replace("2.5s", "soon"), "line 3: no time: 'soon'"),
        ("<!DOCTYPE tt [<!ENTITY a 'b'>]>" + TTML[TTML.index("<tt") :], "line 1: a DOCTYPE"),
        (TTML.replace('"25"', '"many"'), "line 2: a rate that is no number"),
    ],
    "a.lrc": [("words\n", "line 1: a text without a time"), ("[offset:x]\n", "line 1: no offset")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [(name, content, said) for name, cases in REFUSED.items() for content, said in cases],
)
def test_what_is_not_clear_is_refused_with_its_line(name, content, said, tmp_path):
    with pytest.raises(SubtitleError) as refused:
        read_subtitles(written(tmp_path, name, content))
    assert str(refused.value).startswith(said)


def test_json_of_whisper_and_whisperx_is_read(tmp_path):
    words = [
        {"word": " Hello", "start": 1.0, "end": 1.5, "probability": 0.9},
        {"word": "2026"},
        {"word": "there", "start": 2.0, "end": 2.5, "score": 0.5},
    ]
    segment = {"start": 1.0, "end": 2.5, "text": " Hello 2026 there", "words": words}
    content = json.dumps({"text": "x", "language": "en", "segments": [segment]})
    read = read_whisper(written(tmp_path, "a.json", content))
    assert told(read) == [(1.0, 2.5, "Hello 2026 there")]
    assert [(one.text, one.confidence) for one in read.segments[0].words] == [
        ("Hello", 0.9),
        ("there", 0.5),
    ]
    assert read.language == "en"
    assert read.notes == ("1 words have no times: they are in the text alone",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}', "no transcript of Whisper"),
        ('{\n"a": }', "line 2: no JSON"),
        ('{"segments": [{"start": 2, "end": 1, "text": "x"}]}', "segment 1 of it is malformed"),
        ('{"segments": [{"start": 2, "text": "x"}]}', "segment 1 of it is malformed: 'end'"),
    ],
)
def test_other_json_is_refused(content, said, tmp_path):
    with pytest.raises(SubtitleError, match=said):
        read_whisper(written(tmp_path, "a.json", content))


def test_sidecars_are_found_by_name_and_language(tmp_path):
    names = (
        "clip.srt",
        "clip.de.srt",
        "clip.en.forced.vtt",
        "clip.info.json",
        "clip2.srt",
        "clip.txt",
    )
    for name in names:
        written(tmp_path, name, SRT)
    media = tmp_path / "clip.mp4"
    found = {path.name: language for path, language in sidecars_of(media)}
    assert found == {"clip.srt": "", "clip.de.srt": "de", "clip.en.forced.vtt": "en"}
    read, remarks = read_sidecar(media, "de")
    assert read is not None
    assert read.language == "de"
    assert remarks == [
        "clip.srt is not read: another comes first",
        "clip.en.forced.vtt is not read: it is not in 'de'",
    ]


def test_a_sidecar_that_cannot_be_read_is_named_and_the_next_one_read(tmp_path):
    written(tmp_path, "clip.srt", "nothing")
    written(tmp_path, "clip.vtt", VTT)
    read, remarks = read_sidecar(tmp_path / "clip.mp4")
    assert read is not None
    assert remarks == ["clip.srt is not read: line 1: a text without times"]
