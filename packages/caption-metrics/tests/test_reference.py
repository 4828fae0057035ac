"""Beside the reference: pycocoevalcap with its two Java programs, where both are installed."""

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from caption_metrics import evaluate
from caption_metrics.tokens import ptb

HARD = {
    "A man can't stop; he'll say \"hello\" -- it's John's dog.": [
        "the man cannot stop, he says hello to john's dogs",
        "He won't stop saying 'hello'!",
    ],
    "a t-shirt, 3-year-old; mid-1990s & 50% off": ["t shirts of a three-year-old at $5.50 or £20"],
    "Mr. Smith vs. Dr. Who etc. at 5 p.m. in the U.S.": [
        "mister smith and doctor who, at five pm."
    ],
    "Wait... what?! really?? yes!!! (quietly) [loud]": ["wait what really yes quietly ... loud"],
    "un café à Zürich, naïve-looking “quotes” ‘x’ — dash": ["a cafe in zürich looking naive"],
    "犬が吠える 🐶 barks a🐶b שלום ｆｕｌｌ": ["犬が吠える and שלום", "barks in ｆｕｌｌ"],
    "": ["an empty caption", "nothing at all"],
    "...": ["a caption of dots"],
    "dogs dogs dogs dogs dogs the the the": ["the dogs and the dog", "a hound next to the sea"],
    "children are playing close to the ocean": [
        "kids play beside the sea",
        "a child is near water",
    ],
    "and/or w/o 24/7 7:30pm 5th '90s 1/2 C++ AT&T R&B": ["and or without 24 7 at 7:30 pm"],
    "the mice lay on the beaches and the men ran": ["a mouse lies on a beach and a man runs"],
}


def clotho(annotations, count):
    with (annotations / "clotho" / "val.csv").open(newline="") as file:
        rows = [[row[f"caption_{n}"] for n in range(1, 6)] for row in csv.DictReader(file)]
    return {f"clotho {n}": row for n, row in enumerate(rows[:count])}


def audiocaps(annotations, count):
    with (annotations / "audiocaps" / "val.csv").open(newline="") as file:
        rows = [[row[f"caption_{n}"] for n in range(1, 6)] for row in csv.DictReader(file)]
    return {f"audiocaps {n}": row for n, row in enumerate(rows[:count])}


def predicted(annotations, count):
    """Captions of a trained model, of aac-metrics; some are empty."""
    found = {}
    for name in ("example_1", "example_2"):
        with (annotations / "aac_metrics" / f"{name}.csv").open(newline="") as file:
            for n, row in enumerate(list(csv.DictReader(file))[:count]):
                own = [row["caption_predicted"], *(row[f"caption_{k}"] for k in range(1, 6))]
                found[f"{name} {n}"] = [own[0], *filter(None, own[1:])]
    return found


def generated(count):
    """Captions that a grammar wrote of generated clips: many words in common, phrases repeated."""
    rows = json.loads((Path(__file__).parent / "generated.json").read_text(encoding="utf-8"))
    return dict(list(rows.items())[:count])


def every_caption(annotations):
    """All published captions at hand."""
    for path in (*annotations.glob("*/*.csv"),):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name == "sentence" or name.startswith(("caption", "mult")):
                        yield " ".join(text.split())
    for path in annotations.glob("msrvtt/*.json"):
        for rows in json.loads(path.read_text()).values():
            yield from (" ".join(row["caption"].split()) for row in rows)


@pytest.fixture(scope="session")
def java(word_lists):
    """The environment Java runs in: whatever the locale, text is UTF-8."""
    if shutil.which("java") is None:
        pytest.skip("Java, which the reference scorer needs, is not installed")
    return os.environ | {"JAVA_TOOL_OPTIONS": "-Dfile.encoding=UTF-8"}


def coco(name):
    """A module of pycocoevalcap, whose code warns of escapes when it is first compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return importlib.import_module(f"pycocoevalcap.{name}")


@pytest.fixture(scope="session")
def stanford(java, word_lists, tmp_path_factory):
    """Stanford's tokenizer as coco-caption calls it, without its file in the package's folder."""
    tokenizer = coco("tokenizer.ptbtokenizer")
    jar = word_lists.parent / "tokenizer" / tokenizer.STANFORD_CORENLP_3_4_1_JAR

    def cut(captions):
        file = tmp_path_factory.mktemp("ptb") / "captions.txt"
        file.write_text("\n".join(captions), encoding="utf-8")
        program = "edu.stanford.nlp.process.PTBTokenizer"
        command = ["java", "-cp", str(jar), program, "-preserveLines", "-lowerCase", str(file)]
        out = subprocess.run(command, env=java, capture_output=True, check=True).stdout
        lines = out.decode("utf-8").split("\n")[: len(captions)]
        dropped = set(tokenizer.PUNCTUATIONS)
        return [" ".join(w for w in line.rstrip().split(" ") if w not in dropped) for line in lines]

    return cut


@pytest.fixture(scope="session")
def meteor_jar(java):
    """pycocoevalcap's own METEOR, its process ended and its pipes closed behind it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", java)
        scorer = coco("meteor.meteor").Meteor()
    yield scorer
    for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):
        pipe.close()


@pytest.fixture(scope="session")
def compare(stanford, meteor_jar):
    """Score clips twice; each clip is a caption and its references."""

    def both(clips):
        ids = list(clips)
        flat = [text for row in clips.values() for text in row]
        cut = iter(stanford(flat))
        rows = {clip: [next(cut) for _ in row] for clip, row in clips.items()}
        result = {clip: row[:1] for clip, row in rows.items()}
        truth = {clip: row[1:] for clip, row in rows.items()}
        orders = coco("bleu.bleu").Bleu(4).compute_score(truth, result, verbose=0)
        theirs = {
            **{f"BLEU-{n + 1}": (orders[0][n], orders[1][n]) for n in range(4)},
            "ROUGE-L": coco("rouge.rouge").Rouge().compute_score(truth, result),
            "CIDEr": coco("cider.cider").Cider().compute_score(truth, result),
            "METEOR": meteor_jar.compute_score(truth, result),
        }
        ours = evaluate(
            {clip: row[1:] for clip, row in clips.items()},
            {clip: row[0] for clip, row in clips.items()},
            resamples=0,
        )
        for metric, (corpus, each) in theirs.items():
            mine = [ours.captions[metric][clip] for clip in ids]
            assert ours.corpus[metric] == pytest.approx(corpus, abs=1e-9), metric
            assert mine == pytest.approx(list(each), abs=1e-9), metric

    return both


@pytest.fixture(scope="session")
def published(annotations):
    return list(dict.fromkeys(every_caption(annotations)))


def test_the_tokens_of_every_published_caption_are_stanfords(stanford, published):
    assert len(published) > 15_000
    theirs = stanford(published)
    different = [
        text for text, line in zip(published, theirs, strict=True) if " ".join(ptb(text)) != line
    ]
    assert different == []


def test_the_tokens_of_hard_cases_are_stanfords(stanford):
    texts = [text for own, several in HARD.items() for text in (own, *several)]
    assert [" ".join(ptb(text)) for text in texts] == stanford(texts)


@pytest.mark.slow
def test_hard_cases_and_generated_captions_score_as_the_reference(compare):
    hard = {f"hard {n}": [own, *several] for n, (own, several) in enumerate(HARD.items())}
    compare(hard | generated(12))


def test_published_captions_score_as_the_reference(compare, annotations):
    compare(clotho(annotations, 12) | audiocaps(annotations, 12) | predicted(annotations, 10))


@pytest.mark.slow
def test_many_published_captions_score_as_the_reference(compare, annotations):
    compare(predicted(annotations, 400))
    compare(clotho(annotations, 400) | audiocaps(annotations, 400))
    compare(generated(100))


def test_the_reference_is_not_imported_to_score():
    code = "import sys, caption_metrics; print('pycocoevalcap' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
