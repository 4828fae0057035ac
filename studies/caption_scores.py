"""Captions scored by `caption_metrics` and by pycocoevalcap with its two Java programs, side by side.

    python studies/caption_scores.py ANNOTATIONS

Protocol: up to 400 clips of Clotho's and of AudioCaps' validation split (the first reference is the
caption), and all of aac-metrics' two examples with captions of a trained model; every metric, no
intervals. The two take turns, three rounds; processor time of the process and its children, and
clock, the median of each. Java's start and the reading of the paraphrase table count in
every round, that of our other word lists in the first. `largest difference`: of the corpus, and of any
caption. Needs Java.
any caption. Needs Java.
"""

import csv
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from record import record

from caption_metrics import METRICS, evaluate

ROUNDS, CLIPS = 3, 400
Captions = dict[str, list[str]]


def read(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each clip's caption and its references."""
    files = [folder / name / "val.csv" for name in ("clotho", "audiocaps")]
    for file in [*files, *sorted((folder / "aac_metrics").glob("*.csv"))]:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        for number, row in enumerate(rows[:CLIPS] if file in files else rows):
            texts = [row[f"caption_{n}"] for n in range(1, 6)]
            texts = [row["caption_predicted"], *texts] if "caption_predicted" in row else texts
            one_line = [" ".join(text.split()) for text in texts]  # Java reads line by line
            yield f"{file} {number}", [one_line[0], *filter(None, one_line[1:])]


def ours(references: Captions, hypotheses: dict[str, str]) -> dict[str, Any]:
    """Corpus and captions by metric."""
    found = evaluate(references, hypotheses, resamples=0)
    return {name: (found.corpus[name], list(found.captions[name].values())) for name in METRICS}


def theirs(references: Captions, hypotheses: dict[str, str]) -> dict[str, Any]:
    """The same from pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer, meteor = PTBTokenizer(), Meteor()
    truth = {clip: [{"caption": text} for text in texts] for clip, texts in references.items()}
    truth = tokenizer.tokenize(truth)
    result = tokenizer.tokenize({clip: [{"caption": text}] for clip, text in hypotheses.items()})
    bleu = Bleu(4).compute_score(truth, result, verbose=0)
    scores = {f"BLEU-{n + 1}": (bleu[0][n], bleu[1][n]) for n in range(4)}
    scores["METEOR"] = meteor.compute_score(truth, result)
    meteor.meteor_p.stdin.close()
    meteor.meteor_p.wait()  # or its processor time would not count
    scores["ROUGE-L"] = Rouge().compute_score(truth, result)
    scores["CIDEr"] = Cider().compute_score(truth, result)
    return scores


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Measure, and write studies/results/caption-scores.json."""
    warnings.simplefilter("ignore")  # pycocoevalcap's code warns of escapes
    os.environ["JAVA_TOOL_OPTIONS"] = "-Dfile.encoding=UTF-8"
    clips = dict(read(Path(sys.argv[1])))
    references = {clip: texts[1:] for clip, texts in clips.items()}
    hypotheses = {clip: texts[0] for clip, texts in clips.items()}
    ways: dict[str, Callable[..., dict[str, Any]]] = {"ours": ours, "pycocoevalcap": theirs}
    seconds = {way: list[tuple[float, float]]() for way in ways}
    scores: dict[str, dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            start = processor_seconds(), time.perf_counter()
            scores[way] = run(references, hypotheses)
            seconds[way].append((processor_seconds() - start[0], time.perf_counter() - start[1]))
    middle = {
        way: [round(statistics.median(column), 1) for column in zip(*rounds, strict=True)]
        for way, rounds in seconds.items()
    }
    record(
        "caption-scores",
        {
            "protocol": (__doc__ or "").partition("Protocol: ")[2].replace("\n", " ").strip(),
            "captions": len(clips),
            "references": sum(map(len, references.values())),
            "processor seconds": {way: both[0] for way, both in middle.items()},
            "seconds": {way: both[1] for way, both in middle.items()},
            "largest difference": {
                name: {
                    "corpus": abs(scores["ours"][name][0] - scores["pycocoevalcap"][name][0]),
                    "caption": max(
                        abs(mine - other)
                        for mine, other in zip(
                            scores["ours"][name][1], scores["pycocoevalcap"][name][1], strict=True
                        )
                    ),
                }
                for name in METRICS
            },
        },
    )


if __name__ == "__main__":
    main()
