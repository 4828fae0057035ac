import numpy as np
import pytest

from trichord.media import Decoder
from trichord.media.plan import DecodePlan
from trichord.speech.pocketsphinx import PocketSphinx
from trichord.speech.recogniser import RecogniserOptions, require_language
from trichord.types import UserError

pytest.importorskip("pocketsphinx")


def errors(truth, words):
    """Words to change, leave out and put in: the distance of Levenshtein."""
    row = np.arange(len(words) + 1)
    for number, one in enumerate(truth, start=1):
        above, row[0] = row.copy(), number
        for at, other in enumerate(words, start=1):
            row[at] = min(above[at] + 1, row[at - 1] + 1, above[at - 1] + (one != other))
    return int(row[-1])


GRAMMAR = """#JSGF V1.0;
grammar grid; // of GRID's sentences
public <sentence> = (bin | lay | place | set) <colour> (at | by | in | with) <letter> <digit>
  (again | now | please | soon) {end};
<colour> = blue | green | red | white;
<letter> = a | b | c | d | e | f | g | h | i | j | k | l | m | n | o
  | p | q | r | s | t | u | v | x | y | z;
<digit> = /2/ one | two | three | four | five | six | seven | eight | nine | zero;
"""


@pytest.fixture(scope="module")
def clips(grid):
    folder = grid[0][0].parent
    plan = DecodePlan(frames=None, rates=(16_000,))
    with Decoder(workers=1) as decoder:
        return [
            (words, decoder.decode(folder / path.name, [(0.0, None)], plan)[0].audio[16_000])
            for path, words, *_ in grid[::60][:8]
        ]


def test_a_grammar_makes_fixed_phrases_recognisable(clips, tmp_path, grid_words):
    (tmp_path / "grid.jsgf").write_text(GRAMMAR)
    rates = []
    for vocabulary in (tmp_path / "grid.jsgf", grid_words):
        recogniser = PocketSphinx(RecogniserOptions(vocabulary=vocabulary))
        found = [[one.text for one in recogniser.recognise(sound, "en")] for _, sound in clips]
        wrong = sum(errors(words, own) for (words, _), own in zip(clips, found, strict=True))
        rates.append(wrong / sum(len(words) for words, _ in clips))
    grammar, words = rates
    assert grammar < 0.25
    assert grammar < words < 0.6


def test_a_window_that_ends_within_a_sentence_keeps_the_words_before_it(clips, tmp_path):
    several = GRAMMAR.replace("public <sentence> =", "public <said> = <sentence>+;\n<sentence> =")
    (tmp_path / "grid.jsgf").write_text(several)
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=tmp_path / "grid.jsgf"))
    truth = [word for words, _ in clips[:5] for word in words]
    whole = np.concatenate([sound for _, sound in clips[:5]])
    cut = whole[: -len(clips[4][1]) // 2]

    found = [one.text for one in recogniser.recognise(cut, "en")]

    assert errors(truth[:24], found[:24]) < 8
    assert 24 < len(found) < 30


def test_a_short_sound_that_ends_within_a_sentence_has_no_words(clips, tmp_path):
    (tmp_path / "grid.jsgf").write_text(GRAMMAR)
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=tmp_path / "grid.jsgf"))

    assert not recogniser.recognise(clips[0][1][:16_000], "en")


def test_the_same_sound_gives_the_same_words_whatever_came_before(clips, grid_words):
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=grid_words))
    first = recogniser.recognise(clips[0][1], "en")
    recogniser.recognise(clips[1][1], "en")
    assert recogniser.recognise(clips[0][1], "en") == first


def test_without_a_vocabulary_words_have_a_confidence(clips):
    words = PocketSphinx(RecogniserOptions()).recognise(clips[0][1][12_000:36_000], "en")
    assert words
    assert all(one.confidence is not None and 0 <= one.confidence <= 1 for one in words)
    assert all(0 <= one.start < one.end <= 1.51 for one in words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("blue\nflomp grunk\n", "no pronunciation of 'flomp', 'grunk': spell them"),
        ("blue\nred | green\n", "line 2: '|' is no word"),
        ("# nothing\n", "it has no words"),
        ("#JSGF V1.0;\ngrammar g;\npublic <s> = (blue | red;\n", "it is no grammar in JSGF"),
        ("#JSGF V1.0;\ngrammar g;\npublic <s> = blue | flomp;\n", "no pronunciation of 'flomp'"),
        (b"\x81\x8d", "its bytes are neither UTF-8"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(content, said, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match="--vocabulary") as refused:
        PocketSphinx(RecogniserOptions(vocabulary=path))
    assert said in str(refused.value)


def test_other_languages_and_models_are_refused(grid_words):
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=grid_words))
    with pytest.raises(UserError, match="--language de: pocketsphinx knows en"):
        require_language(recogniser, "de")
    with pytest.raises(UserError, match="--model x: pocketsphinx brings its own"):
        PocketSphinx(RecogniserOptions(model="x"))


def test_a_sound_whose_best_path_is_unfinished_still_has_words(grid, grid_words):
    plan = DecodePlan(frames=None, rates=(16_000,))
    parts = []
    with Decoder(workers=1) as decoder:
        for path, _, start, end in grid[::3][83:101]:
            sound = decoder.decode(path, [(0.0, None)], plan)[0].audio[16_000]
            parts.append(sound[round(start * 16_000) : round(end * 16_000)])
    # A window of the study of seams that ends within a word.
    sound = np.concatenate(parts)[4992 : 4992 + 414_891]
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=grid_words))
    assert recogniser._decode(sound)[0] == []
    words = recogniser.recognise(sound, "en")
    assert len(words) > 80
    assert [one.start for one in words] == sorted(one.start for one in words)
