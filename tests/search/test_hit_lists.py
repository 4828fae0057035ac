import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from trichord.search.hit_lists import (
    MOST_EVENTS,
    moments_in,
    to_csv,
    to_edl,
    to_json_lines,
    to_otio,
)
from trichord.types import Hit, Moment, UserError


def hit(file, start, end, visual=1.0, audio=0.5, **fields):
    moment = Moment(file=file, start=start, end=end)
    score = (visual or 0.0) + (audio or 0.0)
    return Hit(moment=moment, score=score, visual=visual, audio=audio, **fields)


HITS = [
    hit("/m/a, film.mp4", 62.5, 72.5, chance=0.25, tags=("x", "y"), more=(hit("/m/b", 1.0, 2.0),)),
    hit("/m/bell.wav", 0.0, 10.0, visual=None),
    hit("/m/still\n1.png", 0.0, 0.0, audio=None, weak=True),
]


def test_csv_has_a_line_for_each_hit_of_each_query():
    rows = list(csv.DictReader(io.StringIO(to_csv([("a, b", HITS), ("c", HITS[1:2])]))))
    assert [(row["query"], row["rank"]) for row in rows] == [
        ("a, b", "1"), ("a, b", "2"), ("a, b", "3"), ("c", "1")
    ]  # fmt: skip
    first, second, third, _ = rows
    assert (first["file"], float(first["start"]), float(first["end"])) == (
        "/m/a, film.mp4",
        62.5,
        72.5,
    )
    assert (first["chance"], first["more"], first["tags"]) == ("0.25", "1", "x;y")
    assert (second["visual"], second["chance"], third["weak"]) == ("", "", "True")
    assert third["file"] == "/m/still\n1.png"


def test_an_edl_places_hits_one_after_another():
    lines = to_edl(HITS, "a\nbell", 25).splitlines()
    assert lines[:3] == ["TITLE: a bell", "FCM: NON-DROP FRAME", ""]
    events = [line for line in lines if line[:1].isdigit()]
    assert events == [
        "001  AX       B     C        00:01:02:12 00:01:12:12 01:00:00:00 01:00:10:00",
        "002  AX       A     C        00:00:00:00 00:00:10:00 01:00:10:00 01:00:20:00",
        "003  AX       V     C        00:00:00:00 00:00:05:00 01:00:20:00 01:00:25:00",
    ]
    assert "* FROM CLIP NAME: still 1.png" in lines
    with pytest.raises(UserError, match="at most 999"):
        to_edl(HITS[:1] * (MOST_EVENTS + 1), "x", 25)


REQUIRED = {
    "Timeline": {"metadata", "name", "global_start_time", "tracks"},
    "Stack": {"metadata", "name", "source_range", "effects", "markers", "children"},
    "Track": {"metadata", "name", "source_range", "effects", "markers", "children", "kind"},
    "Clip": {"metadata", "name", "source_range", "effects", "markers", "media_reference"},
    "Gap": {"metadata", "name", "source_range", "effects", "markers"},
    "ExternalReference": {"metadata", "target_url", "available_range"},
    "TimeRange": {"start_time", "duration"},
    "RationalTime": {"rate", "value"},
}
"""Fields of each schema in OpenTimelineIO's own files."""


def checked(value):
    """All objects with a schema in a file, each with the fields of its schema."""
    if isinstance(value, list):
        return [one for part in value for one in checked(part)]
    if not isinstance(value, dict):
        return []
    below = [one for part in value.values() for one in checked(part)]
    if "OTIO_SCHEMA" not in value:
        return below
    schema, version = value["OTIO_SCHEMA"].split(".")
    assert version == "1"
    assert value.keys() - {"OTIO_SCHEMA"} == REQUIRED[schema]
    return [(schema, value), *below]


def test_a_timeline_has_the_form_of_opentimelineio():
    found = checked(json.loads(to_otio(HITS, "a bell", 25)))
    assert found[0][0] == "Timeline"
    tracks = [value for schema, value in found if schema == "Track"]
    kinds = [[part["OTIO_SCHEMA"] for part in one["children"]] for one in tracks]
    assert [one["kind"] for one in tracks] == ["Video", "Audio"]
    # A film is seen and heard, a sound leaves a gap in what is seen: both tracks stay together.
    assert kinds == [["Clip.1", "Gap.1", "Clip.1"], ["Clip.1", "Clip.1", "Gap.1"]]
    lengths = [
        [part["source_range"]["duration"]["value"] for part in one["children"]] for one in tracks
    ]
    assert lengths == [[250.0, 250.0, 125.0]] * 2
    clip = tracks[0]["children"][0]
    assert clip["media_reference"]["target_url"] == Path("/m/a, film.mp4").as_uri()
    assert clip["source_range"]["start_time"] == {
        "OTIO_SCHEMA": "RationalTime.1", "rate": 25.0, "value": 1562.0
    }  # fmt: skip
    assert clip["source_range"]["duration"]["value"] == 250.0
    assert clip["metadata"]["trichord"] == {"score": 1.5, "chance": 0.25, "weak": False}


def test_moments_are_read_from_what_a_search_prints():
    moments = [one.moment for one in HITS]
    assert moments_in(json.dumps([asdict(one) for one in HITS]), "x") == moments
    lines = to_json_lines([("a", HITS[:2]), ("b", HITS[2:])])
    assert len(lines.splitlines()) == 2
    assert moments_in(lines, "x") == moments


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "words", "3", "[3]", '[{"moment": 3}]', '{"hits": []}', '[{"moment": {"file": "a"}}]',
        '[{"moment": {"file": "a", "start": 2, "end": 1}}]',
        '[{"moment": {"file": "a", "start": 0, "end": NaN}}]',
        '[{"moment": {"file": "a", "start": "0", "end": 1}}]',
        '[{"moment": {"file": "", "start": 0, "end": 1}}]',
    ],
)  # fmt: skip
def test_what_is_no_list_of_hits_is_one_line(text):
    with pytest.raises(UserError, match="what 'trichord search --format json' prints"):
        moments_in(text, "hits.json")
