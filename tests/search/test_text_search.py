"""What is said and shown: stored by content, found by phrases, stems and misspelt words, with times."""

import shutil
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest

from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.filters import Filter
from trichord.search.hit_lists import moments_in, to_cues, to_fields
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.search.terms import code_of, stems_of, words_of
from trichord.search.text_search import Wanted
from trichord.search.text_table import FileTexts
from trichord.search.text_update import update_meaning
from trichord.speech.transcript import SpokenSegment, Word
from trichord.types import UserError


def line(start, end, text, words=(), language="en", speaker=""):
    return SpokenSegment(
        start=start, end=end, text=text, words=tuple(words), language=language, speaker=speaker
    )


@pytest.fixture
def put(collection):
    """Stores what is said, or shown, in a file of the collection by its name."""

    def put(name, lines, kind="speech", **options):
        known = collection.table.files()
        [version] = [one.version for file, one in known.items() if file.endswith(name)]
        texts = FileTexts(
            signature=version.signature, kind=kind, lines=tuple(lines), status="made", **options
        )
        collection.texts.put([texts])
        return version.file

    return put


@pytest.fixture
def find(collection, tiny_model, decoder):
    """Searches; gives the name, the start and the words of each hit that has some."""

    def find(text, **options):
        engine = SearchEngine(collection, tiny_model, decoder)
        hits = engine.search(Query.of(text, **options), k=20)
        return [
            (
                hit.moment.file.rpartition("/")[2],
                hit.start,
                [word for word, _ in hit.texts[0].words],
            )
            for hit in hits
            if hit.texts
        ]

    return find


def test_words_are_compared_without_case_accents_and_endings():
    assert words_of("It's NOT café—noir, 12 Ännchen!") == [
        "it's", "not", "cafe", "noir", "12", "annchen"
    ]  # fmt: skip
    assert words_of("天気 now") == ["天", "気", "now"]
    assert stems_of(["turned", "cars"], "en") == stems_of(["turning", "car"], "en-GB")
    assert stems_of(["turned"], "en") == stems_of(["turned"], "")
    assert [code_of(one) for one in ("en-GB", "eng", "deu", "zh_TW", "und", "")] == [
        "en", "en", "de", "zh", "", ""
    ]  # fmt: skip
    assert stems_of(["hauser"], "de") != stems_of(["hauser"], "xx") == ["hauser"]


def test_a_phrase_is_found_exactly_across_lines_and_starts_where_it_is_said(put, find, collection):
    timed = [Word(text="please", start=2.1, end=2.4), Word(text="Turn", start=2.5, end=2.9)]
    put("red.mp4", [line(2.1, 3.0, "please Turn", timed), line(3.1, 3.9, "left, at the corner")])
    put("blue.mp4", [line(0.0, 1.0, "he turned left"), line(1.0, 2.0, "turn it left")])
    assert find('"turn left"') == [("red.mp4", 2.5, ["Turn", "left"])]
    assert find("“TURN LEFT”") == find('"turn left"')
    assert find('"turn right"') == []
    # A phrase beside other words says nothing of them.
    assert [name for name, *_ in find('"turn left" a red square')] == ["red.mp4"]


def test_quoted_words_alone_find_nothing_else_but_an_archive_without_words_is_looked_through(
    put, collection, tiny_model, decoder
):
    ask = Query.of('"red square"')
    assert SearchEngine(collection, tiny_model, decoder).search(ask, k=5)
    put("red.mp4", [line(0.0, 1.0, "something else")])
    assert SearchEngine(collection, tiny_model, decoder).search(ask, k=5) == []
    with_picture = Query.of('"something else" red square')
    assert len(SearchEngine(collection, tiny_model, decoder).search(with_picture, k=5)) > 1


def test_all_words_must_be_said_together_unless_a_weight_says_that_any_counts(put, find):
    put("red.mp4", [line(0.0, 1.0, "the dogs were barking"), line(1.0, 2.0, "at a parked car")])
    put("blue.mp4", [line(0.0, 1.0, "a dog sleeps")])
    assert [name for name, *_ in find("dog barks")] == ["red.mp4"]
    assert [name for name, *_ in find("dog car")] == ["red.mp4"]  # in the next line
    assert find("dog whistles") == []
    assert {name for name, *_ in find("dog whistles", speech_weight=1)} == {"red.mp4", "blue.mp4"}
    assert find("dog barks", speech_weight=0) == []


def test_a_misspelt_word_is_forgiven_if_nobody_says_it(put, find):
    put("red.mp4", [line(0.0, 1.0, "the elephant sleeps")])
    put("blue.mp4", [line(0.0, 1.0, "the elegant chair")])
    assert find("elefant sleeps") == [
        ("red.mp4", pytest.approx(0.21, abs=0.05), ["elephant", "sleeps"])
    ]
    assert [name for name, *_ in find("elegant")] == ["blue.mp4"]
    assert find('"elefant"') == []


def test_a_word_of_another_language_or_file_is_not_misspelt(
    put, find, collection, tiny_model, decoder
):
    red = put("red.mp4", [line(0.0, 1.0, "über die Brücke", language="de")])
    blue = put("blue.mp4", [line(0.0, 1.0, "the glass breaks")])
    collection.texts.compact()  # Lance forgives no errors in lines that its index lacks
    assert find("brücke") == [("red.mp4", pytest.approx(0.5, abs=0.4), ["Brücke"])]
    assert [name for name, _, _ in find("breaxs")] == ["blue.mp4"]
    texts = SearchEngine(collection, tiny_model, decoder).texts
    wanted = Wanted.of(Query.of("brücke"), loose=False)
    assert [len(texts.found_in(one, wanted, "speech")) for one in (red, blue)] == [1, 0]


def test_a_very_long_word_is_looked_for_as_it_is(put, find):
    long = "".join(chr(97 + i * i * 7 % 26) for i in range(400))
    put("red.mp4", [line(0.0, 1.0, f"turn {long[:33]}")])
    assert find(long) == find("turn " + long[:32] + "zz") == []
    assert [name for name, _, _ in find(long[:33])] == ["red.mp4"]


def test_frequent_words_need_not_be_said(put, find):
    put("red.mp4", [line(i, i + 0.5, f"the thing {i}") for i in range(0, 400, 4)])
    put("blue.mp4", [line(0.0, 1.0, "a locomotive arrives")])
    assert [name for name, *_ in find("the locomotive")] == ["blue.mp4"]


def test_what_is_shown_is_a_source_of_its_own(put, find):
    put("red.mp4", [line(0.0, 2.0, "EXIT HERE")], kind="screen")
    put("red.mp4", [line(2.0, 3.0, "no way out")])
    assert [words for _, _, words in find("exit")] == [["EXIT"]]
    assert find("exit", screen_weight=0) == []
    assert find('"no way out" "exit here"') == []  # neither line has both
    assert [start for _, start, _ in find('"no way out"')] == [2.0]


def test_an_update_replaces_only_words_of_its_kind(put, collection):
    file = put("red.mp4", [line(0.0, 1.0, "one"), line(1.0, 2.0, "two")], engine="a")
    put("red.mp4", [line(0.0, 1.0, "shown")], kind="screen")
    put("red.mp4", [line(0.0, 1.0, "three")], engine="b")
    signature = collection.table.files()[file].version.signature
    assert [one.text for one in collection.texts.lines(signature, "speech")] == ["three"]
    assert [one.text for one in collection.texts.lines(signature, "screen")] == ["shown"]
    assert {one["engine"] for one in collection.texts.markers()} == {"b", ""}


def test_words_follow_a_file_that_moves_and_go_with_one_that_is_removed(
    put, find, collection, tiny_model, decoder, archive
):
    put("red.mp4", [line(0.0, 1.0, "a rare word")])
    (archive / "red.mp4").rename(archive / "other.mp4")
    shutil.copy(archive / "other.mp4", archive / "copy.mp4")
    list(index(collection, tiny_model, decoder, [archive]))
    assert {name for name, *_ in find('"rare word"', fold=False)} == {"other.mp4", "copy.mp4"}
    collection.remove([archive / "other.mp4"])
    assert [name for name, *_ in find('"rare word"')] == ["copy.mp4"]
    collection.remove([archive / "copy.mp4"])
    assert collection.texts.markers() == []


def test_words_of_a_missing_file_are_left_out_of_hits(put, find, archive):
    put("red.mp4", [line(0.0, 1.0, "a rare word")])
    (archive / "red.mp4").unlink()
    assert find('"rare word"') == []
    assert len(find('"rare word"', where=Filter(missing=True))) == 1


def test_moments_are_filtered_by_language_speaker_and_speech(put, collection, tiny_model, decoder):
    red = put(
        "red.mp4", [line(0.5, 1.0, "hello", speaker="Ann"), line(2.5, 3.0, "yes", speaker="Bo")]
    )
    blue = put("blue.mp4", [line(0.0, 4.0, "guten Tag", language="de-AT")], language="deu")
    engine = SearchEngine(collection, tiny_model, decoder)

    def spans(**where):
        hits = engine.search(Query.of("a square", where=Filter(**where)), k=50)
        return sorted((hit.moment.file, hit.moment.start) for hit in hits)

    assert spans(language="de") == [(blue, 0.0), (blue, 2.0)]
    assert spans(speaker="Ann") == [(red, 0.0)]
    assert spans(speaker="Bo", language="en") == [(red, 2.0)]
    assert spans(has_speech=True) == [(blue, 0.0), (blue, 2.0), (red, 0.0), (red, 2.0)]
    assert not set(spans(has_speech=False)) & set(spans(has_speech=True))


def test_an_open_engine_finds_words_that_were_stored_since(put, collection, tiny_model, decoder):
    engine = SearchEngine(collection, tiny_model, decoder)
    assert engine.texts.kinds == frozenset()
    put("red.mp4", [line(0.0, 1.0, "fresh words")])
    assert engine.refresh()
    assert [hit.texts[0].text for hit in engine.search(Query.of('"fresh words"'))] == [
        "fresh words"
    ]
    assert not engine.refresh()


def test_lists_of_hits_start_at_the_words(put, collection, tiny_model, decoder):
    import json

    file = put("red.mp4", [line(2.5, 4.5, "turn left now"), line(0.0, 1.0, "before")])
    engine = SearchEngine(collection, tiny_model, decoder)
    [hit] = engine.search(Query.of('"left now"'))
    assert (hit.moment.start, hit.start, hit.end) == (2.0, pytest.approx(3.27, abs=0.01), 4.5)
    [moment] = moments_in(json.dumps([to_fields(hit)]), "hits")
    assert (moment.file, moment.start, moment.end) == (file, hit.start, hit.end)
    [(start, end, text)] = to_cues([hit], engine.texts.lines_of)
    assert (start, text) == (0.0, "turn left now")
    assert end == pytest.approx(4.5 - hit.start)


def test_a_second_opening_reads_the_same_words(put, collection, tiny_model, decoder):
    file = put("red.mp4", [line(0.0, 1.0, "kept", [Word(text="kept", start=0.25, end=0.5)])])
    other = StoredCollection.open(collection.name)
    [kept] = SearchEngine(other, tiny_model, decoder).texts.lines_of(file)
    assert kept.words == (Word(text="kept", start=0.25, end=0.5),)


def test_lines_are_found_by_their_meaning_once_they_have_vectors(
    put, collection, tiny_model, decoder
):
    filler = [line(i, i + 0.5, f"number {i} of {i * i} things") for i in range(0, 40, 2)]
    put("red.mp4", [*filler, line(41.0, 42.0, "a slow green boat")])
    put("blue.mp4", [line(1.0, 2.0, "A slow, green boat!")])

    def texts():
        engine = SearchEngine(collection, tiny_model, decoder)
        # As typed: the tiny model knows no meaning, but gives equal texts equal vectors.
        found = engine.texts.similar("a slow green boat", engine.reader.texts, "speech")
        return [(text.text, text.words, text.at) for _, text in found]

    assert texts() == []
    assert update_meaning(collection, lambda: tiny_model) == 22
    assert texts()[0] == ("a slow green boat", (), 41.0)
    assert len(texts()) < 5  # unrelated lines do not count
    # What has a vector is not read again; another model's vectors are others.
    assert update_meaning(collection, pytest.fail) == 0
    collection.description = replace(collection.description, fingerprint="another")
    assert len(collection.texts.without_meaning("another")) == 22


def test_meaning_is_no_source_of_a_phrase(put, collection, tiny_model, decoder):
    put("red.mp4", [line(i, i + 0.5, f"number {i} of {i * i} things") for i in range(20)])
    put("blue.mp4", [line(1.0, 2.0, "a slow green boat")])
    update_meaning(collection, lambda: tiny_model)
    engine = SearchEngine(collection, tiny_model, decoder)
    [hit] = [hit for hit in engine.search(Query.of("a slow green boat"), k=20) if hit.texts]
    assert len(hit.texts) == 1  # found by words and by meaning, shown once
    assert engine.search(Query.of('"slow green boats"'), k=20) == []


def test_what_is_removed_is_gone_from_disk_too(put, collection, archive):
    put("red.mp4", [line(0.0, 1.0, "a secretword nobody may keep")])
    collection.texts.compact()
    collection.remove([archive / "red.mp4"])
    collection.texts.compact(kept=timedelta(0))
    files = [path for path in (collection.path / "texts.lance").rglob("*") if path.is_file()]
    assert files
    assert not any(b"secretword" in path.read_bytes() for path in files)


def test_a_timeline_has_all_lines_of_its_file(put, collection, tiny_model, decoder):
    lines = [line(0.0, 1.0, "a rare word"), line(2.0, 3.0, "another rare word")]
    file = put("red.mp4", lines)
    put("red.mp4", [line(1.0, 2.0, "RARE WORD")], kind="screen")
    put("blue.mp4", [line(0.0, 1.0, "a rare word elsewhere")])
    engine = SearchEngine(collection, tiny_model, decoder)
    found = engine.timeline(Query.of('"rare word"'), file).texts
    assert [text.text for text in found] == ["a rare word", "RARE WORD", "another rare word"]
    silent = engine.timeline(Query.of("rare word", speech_weight=0, screen_weight=0), file)
    assert silent.texts == ()


def test_a_phrase_that_nothing_could_have_is_refused():
    with pytest.raises(UserError, match="both 0"):
        Query.of('"turn left" a car', speech_weight=0, screen_weight=0)
    assert Query.of("turn left", speech_weight=0, screen_weight=0).phrases == ()


def test_what_is_said_comes_before_what_only_looks_or_sounds_alike(
    put, collection, tiny_model, decoder
):
    engine = SearchEngine(collection, tiny_model, decoder)
    last = engine.search(Query.of("rare words"), k=50)[-1].moment
    before = [hit.moment for hit in engine.search(Query.of("rare words"), k=50)]
    put(last.file.rpartition("/")[2], [line(last.start, last.start + 0.5, "rare words")])
    assert engine.refresh()
    after = [hit.moment for hit in engine.search(Query.of("rare words"), k=50)]
    assert after == [last, *(moment for moment in before if moment != last)]


def test_a_search_by_words_does_not_wait_for_a_refresh(put, collection, tiny_model, decoder):
    put("red.mp4", [line(0.0, 1.0, "rare words")])
    engine = SearchEngine(collection, tiny_model, decoder)
    assert engine.texts.kinds
    found = []
    with engine._loading:  # as a refresh does while it loads
        search = Thread(target=lambda: found.append(engine.search(Query.of('"rare words"'))))
        search.start()
        search.join(timeout=20)
        waits = search.is_alive()
    search.join()
    assert not waits
    assert len(found[0]) == 1
