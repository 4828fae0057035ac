"""Hits are a list, a table, and what a notebook shows."""

import copy
import json
import pickle
import shutil
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

import trichord
from trichord.api.collection import Collection
from trichord.api.hits import SHOWN, Hits
from trichord.search.hit_lists import COLUMNS, to_csv
from trichord.search.text_table import FileTexts
from trichord.speech.transcript import SpokenSegment
from trichord.types import FoundText, Hit, Moment, UserError


class Seen(HTMLParser):
    """The tags of a page, the sources of its pictures, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.sources, self.text = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        names = dict(attrs)
        assert {*names} <= {"style", "src", "alt", "title"}
        self.sources += [names["src"]] if "src" in names else []

    def handle_data(self, data):
        self.text.append(data)


def hit(file="/v/beach.mp4", start=10.0, **fields):
    moment = Moment(file=file, start=start, end=start + 10)
    return Hit(moment=moment, score=3.2, visual=3.2, audio=None, **fields)


@pytest.fixture
def spoken(archive):
    """The archive, with a line that is said in its clip."""
    [version] = [
        one.version
        for file, one in archive.stored.table.files().items()
        if file.endswith("clip.mp4")
    ]
    line = SpokenSegment(start=0.5, end=0.9, text='a <b>"bell"</b> & more', language="en")
    made = FileTexts(signature=version.signature, kind="speech", lines=(line,), status="made")
    archive.stored.texts.put([made])
    return archive


def test_hits_are_a_list_in_every_way(archive):
    hits = archive.search("a red ball", fold=False)
    plain = list(hits)
    assert isinstance(hits, trichord.Hits)
    assert hits == plain
    assert plain == hits
    assert json.dumps(hits, default=repr) == json.dumps(plain, default=repr)
    assert repr(hits) == repr(plain)
    assert type(hits[1:]) is trichord.Hits
    assert hits[1:] == plain[1:]
    assert hits[0] is plain[0]
    assert type(hits + hits[:1]) is list
    assert [type(one) for one in archive.search(["a ball", "a bell"])] == [trichord.Hits] * 2


def test_copies_and_pickles_keep_the_hits(archive):
    hits = archive.search("a red ball")
    assert hits._archive is not None
    for made in (copy.copy(hits), copy.deepcopy(hits), pickle.loads(pickle.dumps(hits))):
        assert type(made) is trichord.Hits
        assert made == hits
        assert "<table>" in made._repr_html_()


def test_a_hit_is_one_short_line():
    folded = hit(more=(hit(start=20.0), hit(start=30.0)), weak=True, parts=((3.2, None),))
    assert repr(folded) == "Hit('/v/beach.mp4', 10.0-20.0 s, score 3.20, weak, +2 more)"


def test_a_table_has_the_columns_and_values_of_csv(spoken):
    hits = spoken.search("bell", fold=False, k=50)
    table = hits.to_arrow()
    assert {*table.column_names} == {*COLUMNS} - {"query", "rank"}
    lines = to_csv([("bell", hits)]).splitlines()
    names = lines[0].split(",")
    for row, text in zip(table.to_pylist(), lines[1:], strict=True):
        values = dict(zip(names, text.split(","), strict=False))
        assert row["file"] == values["file"]
        for name in ("start", "end", "score", "visual", "audio", "chance"):
            assert row[name] == (float(values[name]) if values[name] else None), name
    [said] = [row for row in table.to_pylist() if row["texts"]]
    assert said["texts"] == [
        {"kind": "speech", "start": 0.5, "end": 0.9, "text": 'a <b>"bell"</b> & more'}
    ]
    assert said["start"] == pytest.approx(min(one.start for one in hits if one.texts))


def test_a_table_without_hits_has_the_same_types():
    assert Hits().to_arrow().schema == Hits([hit(tags=("dog",))]).to_arrow().schema
    assert Hits([hit(tags=("dog",))]).to_arrow().to_pylist()[0]["tags"] == ["dog"]


def test_pandas_is_optional(monkeypatch):
    hits = trichord.Hits([hit(), hit(start=20.0, weak=True, more=(hit(),))])
    pandas = pytest.importorskip("pandas")
    frame = hits.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["start"].tolist() == [10.0, 20.0]
    assert frame["more"].tolist() == [0, 1]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"^to_pandas needs pandas.*pip install pandas") as refused:
        hits.to_pandas()
    assert isinstance(refused.value, ImportError)


def test_a_notebook_shows_stored_thumbnails_and_what_is_said(spoken):
    hits = spoken.search("bell", fold=False, k=50)
    seen = Seen(hits._repr_html_())
    assert seen.tags <= {"table", "thead", "tbody", "tr", "th", "td", "span", "img", "p"}
    assert len(seen.sources) == len(hits) == len(spoken)
    for source in seen.sources:
        kind, _, data = source.partition(";base64,")
        picture = Image.open(BytesIO(b64decode(data)))
        assert kind == f"data:image/{picture.format.lower()}"
    assert 'a <b>"bell"</b> & more' in seen.text
    assert {"clip.mp4", "still.png", "beep.wav"} <= {*seen.text}
    assert "picture" in seen.text  # a still has no time
    assert "said or shown" in seen.text


def test_names_of_files_are_escaped(model, folder, tmp_path):
    place = tmp_path / "media"
    place.mkdir()
    shutil.copy(folder / "still.png", place / '<img src=x onerror="a()">&.png')
    archive = Collection.create(tmp_path / "odd", model, seconds=1.0)
    archive.add(place)
    seen = Seen(archive.search("a ball")._repr_html_())
    assert '<img src=x onerror="a()">&.png' in seen.text
    assert [source[:11] for source in seen.sources] == ["data:image/"]
    assert "said or shown" not in seen.text


def test_at_most_ten_hits_are_shown_and_the_rest_is_counted():
    several = Hits([hit(start=float(i), more=(hit(),), weak=True) for i in range(SHOWN + 3)])
    page = several._repr_html_()
    assert page.count("<tr>") == 1 + SHOWN
    assert f"{SHOWN} of {SHOWN + 3} hits" in page
    assert "beach.mp4</span> (+1 more)" in page
    assert "3.20, weak" in page
    assert Hits()._repr_html_() == "<p>No hits</p>"


def test_without_the_archive_hits_are_shown_and_it_is_said(archive):
    hits = archive.search("a red ball")
    description = archive.stored.path / "collection.json"
    assert "data:image" in hits._repr_html_()
    shutil.rmtree(archive.stored.path / archive.stored.description.table)
    (archive.stored.path / archive.stored.description.table).write_text("no table")
    page = hits._repr_html_()
    assert description.is_file()
    assert "data:image" not in page
    assert "No thumbnails: " in page
    assert all(one.moment.file.rpartition("/")[2] in page for one in hits)


def test_lines_of_several_kinds_are_all_shown():
    texts = tuple(
        FoundText(kind=kind, start=1.0, end=2.0, text=f"{kind} <i>")
        for kind in ("speech", "screen")
    )
    assert "speech &lt;i&gt; / screen &lt;i&gt;" in Hits([hit(texts=texts)])._repr_html_()
