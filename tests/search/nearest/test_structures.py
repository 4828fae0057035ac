import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from trichord.search.nearest import (
    Approximate,
    Exact,
    FaissHnsw,
    FaissIvf,
    FaissScan,
    Settings,
    Structures,
    Usearch,
    files,
)
from trichord.search.nearest.backends import NotWantedError

BUILT: list[str] = []
"""What fake backends built since the test began."""
LATER = Event()


@pytest.fixture(autouse=True)
def nothing_built():
    BUILT.clear()
    LATER.set()


@dataclass(frozen=True)
class Fake:
    """A structure that knows the best rows, and at low effort only one in so many of them."""

    enough: int = 1
    fails: str = ""
    written: str = "structure"
    vectors: list = field(default_factory=list, repr=False)

    def library(self):
        return "fake 1"

    def efforts(self, rows):
        return (1, 2, 4, 8)

    def build(self, vectors, rows, path, threads, go_on):
        if not LATER.wait(60.0) or not go_on():
            raise NotWantedError
        if self.fails:
            raise RuntimeError(self.fails)
        BUILT.append(f"{len(rows)} rows")
        self.vectors.append(vectors)
        Path(path).write_text(self.written)

    def open(self, path):
        return Opened(Path(path).read_text(), self.enough)


@dataclass
class Opened:
    written: str
    enough: int

    def propose(self, queries, count, effort):
        best = np.argsort(-(queries @ Opened.gallery.T), axis=1, kind="stable")[:, :300]
        return best if effort >= self.enough else best[:, 40:]


@pytest.fixture
def structured(gallery, texts, tmp_path):
    """Structures of pictures: sounds are few enough to be searched exactly."""
    Opened.gallery = gallery.vision

    def structured(
        backend=None, columns=gallery, version=7, held_out=None, lasting=True, **settings
    ):
        settings = {"exact_up_to": 2200, **settings}
        made = Structures(
            tmp_path / "cache",
            columns,
            version,
            {"text→sight": texts} if held_out is None else held_out,
            Settings(backend=backend or Fake(), **settings),
            lasting,
        )
        assert made.wait(60.0)
        return made

    return structured


def test_few_moments_are_searched_exactly(structured):
    made = structured(exact_up_to=2400)
    assert isinstance(made.nearest("vision"), Exact)
    assert not BUILT
    report = made.report("vision")
    assert (report.moments, report.used) == (2400, False)
    assert report.line == "sight, 2,400 moments: exact, so few are searched exactly as quickly"


def test_many_moments_are_searched_by_a_structure_that_reaches_the_target(structured, tmp_path):
    made = structured()
    assert BUILT == ["2400 rows"]
    assert isinstance(made.nearest("vision"), Approximate)
    report = made.report("vision")
    assert report.used
    assert report.recall == {"text→sight": 1.0}
    assert report.effort == 1
    assert report.bytes == len("structure")
    assert report.line.endswith("recall@10 text→sight 1.000")
    assert isinstance(made.nearest("audio"), Exact)
    names = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert names == [".index", ".json"]


def test_what_is_stored_is_opened_and_not_built_again(structured):
    before = structured().report("vision")
    BUILT.clear()
    again = structured()
    assert not BUILT
    assert isinstance(again.nearest("vision"), Approximate)
    assert again.report("vision") == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def edit(change):
    def edit(path):
        beside = path.with_suffix(".json")
        known = json.loads(beside.read_text())
        change(known)
        beside.write_text(json.dumps(known))

    return edit


@pytest.mark.parametrize(
    "spoil",
    [
        flip,
        shorten,
        Path.unlink,
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[]"),
        edit(lambda known: known.update(hash="0" * 32)),
        edit(lambda known: known.update(library="fake 0")),
        edit(lambda known: known["identity"].update(version=6)),
        edit(lambda known: known["report"].pop("effort") and known["report"].update(what=1)),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_built_anew(structured, tmp_path, spoil):
    structured()
    BUILT.clear()
    spoil(next((tmp_path / "cache").glob("*.index")))
    made = structured()
    assert BUILT == ["2400 rows"]
    assert isinstance(made.nearest("vision"), Approximate)
    BUILT.clear()
    structured()
    assert not BUILT  # mended


def test_a_newer_version_is_built_anew_and_the_older_one_deleted(structured, tmp_path):
    structured(version=7)
    structured(version=8)
    assert len(BUILT) == 2
    left = sorted(path.name.split("-")[1] for path in (tmp_path / "cache").iterdir())
    assert left == ["8", "8"]


def test_an_older_version_leaves_the_newer_one(structured, tmp_path):
    structured(version=8)
    structured(version=7)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_other_vectors_of_the_same_version_have_a_structure_of_their_own(structured, columns):
    structured()
    structured(columns=columns(3000, seed=1))  # as at another sound token
    assert len(BUILT) == 2
    structured()
    assert len(BUILT) == 2


@pytest.fixture
def listened(structured, columns, texts, tmp_path):
    """Sound at different sound tokens, and how many structures of it lie there."""

    def listened(token, **options):
        opened = structured(
            columns=columns(3000, seed=token),
            held_out={"text→sound": texts},
            **{"exact_up_to": 100, "target": 0.0, "lasting": False, **options},
        )
        assert opened.report("audio").used
        return opened, sorted(path.suffix for path in (tmp_path / "cache").iterdir())

    return listened


def test_of_sound_at_passing_sound_tokens_only_the_latest_is_kept(listened):
    for own in (0, 1):
        listened(own, lasting=True)
    for step in range(2, 8):
        _, there = listened(step)
    assert there == [".index"] * (2 + files.PASSING) + [".json"] * (2 + files.PASSING)
    BUILT.clear()
    for kept in (0, 1):
        listened(kept, lasting=True)
    for kept in (6, 7):
        listened(kept)
    assert not BUILT
    listened(2)
    assert len(BUILT) == 1


def test_what_was_searched_with_lately_stays_longest(listened, tmp_path):
    for step, age in ((1, 300), (2, 200)):
        listened(step)
        for path in (tmp_path / "cache").iterdir():
            if path.stat().st_mtime > time.time() - 100:
                os.utime(path, (time.time() - age,) * 2)
    listened(1)  # opened
    listened(3)
    BUILT.clear()
    listened(1)
    assert not BUILT
    listened(2)
    assert BUILT


def test_who_searches_with_a_structure_does_not_need_its_file(gallery, texts, tmp_path, columns):
    """Another process may delete it at any time."""
    backend = FaissScan()

    def listened(seed):
        made = Structures(
            tmp_path / "cache",
            columns(3000, seed=seed),
            7,
            {"text→sound": texts},
            Settings(backend=backend, exact_up_to=100, target=0.0),
            lasting=False,
        )
        assert made.wait(60.0)
        return made

    first = listened(0)
    before = first.nearest("audio").search(texts[:3], 5)[1]
    for seed in range(1, 4):
        listened(seed)
    assert not first._sides["audio"].path.exists()
    np.testing.assert_array_equal(first.nearest("audio").search(texts[:3], 5)[1], before)


def test_pictures_are_the_same_at_every_sound_token(structured, tmp_path):
    structured(lasting=False)
    structured()
    assert len(BUILT) == 1
    assert not list((tmp_path / "cache").glob("*passing*"))


def test_a_file_that_others_hold_on_to_stays(listened, monkeypatch):
    """As on Windows."""

    def held(path, missing_ok=False):
        raise PermissionError(13, "in use", str(path))

    monkeypatch.setattr(Path, "unlink", held)
    for step in range(4):
        listened(step)


@pytest.mark.parametrize(
    "changed",
    [
        {"backend": Fake(enough=0)},
        {"target": 0.9},
        {"held_out": {"sound→sight": np.eye(24, dtype=np.float32)}},
    ],
)
def test_other_settings_and_queries_have_a_structure_of_their_own(structured, changed):
    structured()
    structured(**changed)
    assert len(BUILT) == 2


def test_effort_is_raised_until_every_kind_of_query_finds_enough(structured):
    made = structured(Fake(enough=4))
    assert made.report("vision").effort == 4
    assert made.report("vision").recall == {"text→sight": 1.0}


def test_a_structure_that_misses_too_much_is_not_used_and_said_so(structured, texts, tmp_path):
    made = structured(Fake(enough=9))
    assert isinstance(made.nearest("vision"), Exact)
    report = made.report("vision")
    assert (report.used, report.effort, report.recall) == (False, 8, {"text→sight": 0.0})
    assert "exact, a structure of this kind does not reach recall@10 of 0.95" in report.line
    assert not list((tmp_path / "cache").glob("*.index"))
    # The verdict is kept, so that the next start does not build in vain.
    BUILT.clear()
    assert structured(Fake(enough=9)).report("vision") == report
    assert not BUILT


def test_one_kind_of_query_that_misses_too_much_is_enough(structured, texts, gallery):
    @dataclass
    class Biased(Opened):
        def propose(self, queries, count, effort):
            rows = super().propose(queries, count, effort)
            rows[queries[:, 1] > queries[:, 0]] = 1  # texts lie in the other cone
            return rows

    @dataclass(frozen=True)
    class Partial(Fake):
        def open(self, path):
            return Biased("", 1)

    asked = {"text→sight": texts, "picture→sight": gallery.vision[1:3]}
    made = structured(Partial(), held_out=asked)
    recall = made.report("vision").recall
    assert recall["picture→sight"] == 1.0
    assert recall["text→sight"] < 0.95
    assert isinstance(made.nearest("vision"), Exact)


def test_without_held_out_queries_nothing_is_built(structured, texts):
    made = structured(held_out={"text→sound": texts, "text→sight": texts[:0]})
    assert not BUILT
    assert "no held-out queries" in made.report("vision").why


def test_search_is_exact_while_a_structure_is_built(gallery, texts, tmp_path):
    Opened.gallery = gallery.vision
    LATER.clear()
    settings = Settings(backend=Fake(), exact_up_to=2200)
    made = Structures(tmp_path, gallery, 1, {"text→sight": texts}, settings)
    assert not made.wait(0.0)
    assert isinstance(made.nearest("vision"), Exact)
    assert made.report("vision").why == "a structure is being built"
    LATER.set()
    assert made.wait(60.0)
    assert isinstance(made.nearest("vision"), Approximate)


def test_what_nobody_wants_any_more_is_not_built(gallery, texts, tmp_path):
    LATER.clear()
    settings = Settings(backend=Fake(), exact_up_to=2200)
    made = Structures(tmp_path, gallery, 1, {"text→sight": texts}, settings)
    made.close()
    LATER.set()
    assert made.wait(60.0)
    assert isinstance(made.nearest("vision"), Exact)
    assert not list(tmp_path.iterdir())


def test_a_build_that_fails_leaves_exact_search_and_says_why(structured, tmp_path):
    made = structured(Fake(fails="no space\nleft"))
    assert isinstance(made.nearest("vision"), Exact)
    assert "no structure could be built (no space)" in made.report("vision").line
    assert not list((tmp_path / "cache").iterdir())


def test_without_the_library_search_is_exact_and_the_extra_is_named(structured, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    made = structured(FaissScan())
    assert isinstance(made.nearest("vision"), Exact)
    assert 'pip install "trichord[search]"' in made.report("vision").line


def test_a_cache_that_cannot_be_written_leaves_exact_search(structured, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    made = structured()
    assert isinstance(made.nearest("vision"), Exact)
    assert "cannot be written" in made.report("vision").why


def test_what_a_killed_process_left_is_deleted_after_a_day(structured, tmp_path):
    (tmp_path / "cache").mkdir()
    for name, age in ((".old.part", files.FORGOTTEN + 60), (".new.part", 60)):
        left = tmp_path / "cache" / name
        left.write_text("half")
        os.utime(left, (time.time() - age,) * 2)
    structured()
    assert {path.name for path in (tmp_path / "cache").glob(".*")} == {".new.part"}


@pytest.mark.parametrize(
    "backend", [FaissScan(), FaissIvf(), FaissHnsw(), Usearch()], ids=lambda one: type(one).__name__
)
def test_real_structures_are_built_measured_mapped_and_searched(
    structured, gallery, texts, brute, backend
):
    pytest.importorskip("faiss")
    pytest.importorskip("usearch")
    for _ in ("built", "opened"):
        made = structured(backend, target=0.5)
        search = made.nearest("vision")
        assert isinstance(search, Approximate)
        rows, cosines = search.search(texts, 10)
        truth = brute(gallery.vision, gallery.has_vision, texts, 10)
        found = [len({*row} & {*best}) for row, best in zip(rows, truth[0], strict=True)]
        measured = sum(found) / rows.size
        assert measured == pytest.approx(made.report("vision").recall["text→sight"], abs=1e-9)
        exact = (gallery.vision[rows] * texts[:, None].astype(np.float64)).sum(axis=2)
        assert cosines == pytest.approx(exact, abs=1e-12)


def test_a_structure_of_texts_from_another_cone_is_measured_by_them(structured, gallery, texts):
    """Four lists of forty searched: fine for pictures, too little for texts."""
    pytest.importorskip("faiss")
    pictures = {"picture→sight": gallery.vision[gallery.has_vision][:50]}
    both = {**pictures, "text→sight": texts}

    @dataclass(frozen=True)
    class Shallow(FaissIvf):
        def efforts(self, rows):
            return (4,)

    recalls = structured(Shallow(), held_out=both, target=0.0).report("vision").recall
    assert recalls["text→sight"] < recalls["picture→sight"] - 0.1
    assert isinstance(structured(Shallow(), held_out=both).nearest("vision"), Exact)
