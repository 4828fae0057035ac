"""The commands beside published numbers, carried out on small folders of the official layouts."""

import csv
import json
import re
import shutil
import wave
from dataclasses import replace
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from trichord.checkpoint import Progress, Run
from trichord.config import CaptionGenerator, Experiment, GlobalToGlobal
from trichord.evaluation.named import PROTOCOLS

PAGE = Path(__file__).parents[2] / "docs/explanation/protocols.md"
ROWS = {
    name.strip(): commands
    for name, *commands in re.findall(
        r"^\| ([^|`]+) \| `trichord ([^`]+)` \| `trichord ([^`]+)` \|$", PAGE.read_text(), re.M
    )
}
TEST, RATE, SIDE = 6, 16_000, 32
CUT = {"test": TEST, "val": 3, "train": 4}
SMALL = {
    name: replace(
        one,
        listed=TEST,
        clips=TEST,
        captions=one.captions and 2 if one.captions != 1 else 1,
        others={split: CUT[split] for split in one.others},
    )
    for name, one in PROTOCOLS.items()
}
"""The published protocols with the counts of the folders below."""


def film(path, number, sound=True):
    """A copy of one of eight films."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(drawn(number % 8, sound, path.suffix[1:]))


@cache
def drawn(number, sound, form):
    """Half a second of a colour and a tone."""
    place = BytesIO()
    with av.open(place, "w", format=form) as container:
        seen = container.add_stream("mpeg4", rate=4)
        seen.width, seen.height, seen.pix_fmt = SIDE, SIDE, "yuv420p"
        heard = container.add_stream("mp3", rate=RATE, layout="mono") if sound else None
        colour = np.random.default_rng(number).integers(0, 255, (1, 1, 3), np.uint8)
        for _ in range(2):
            picture = np.ascontiguousarray(np.broadcast_to(colour, (SIDE, SIDE, 3)))
            container.mux(seen.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(seen.encode(None))
        if heard:
            frame = av.AudioFrame.from_ndarray(tone(number)[None], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
            for piece in av.AudioResampler("fltp", "mono", RATE, 576).resample(frame):
                container.mux(heard.encode(piece))
            container.mux(heard.encode(None))
    return place.getvalue()


def tone(number):
    pitch = 200 + 60 * number
    return (0.4 * np.sin(2 * np.pi * pitch * np.arange(RATE // 2) / RATE)).astype(np.float32)


def sound(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((tone(number) * 32_000).astype("<i2").tobytes())


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def avcaps(root):
    for split, ids in (("train", range(2)), ("val", range(2, 4)), ("test", range(4, 4 + TEST))):
        held = {
            str(i): {
                "audio_captions": [f"a bell {i}"],
                "visual_captions": [f"a ball {i}", f"red {i}"],
                "audio_visual_captions": [f"a ball and a bell {i}"],
                "GPT_AV_captions": [f"someone says {i}"],
            }
            for i in ids
        }
        (root / f"{split}_captions.json").write_text(json.dumps(held))
        for i in ids:
            film(root / f"{split}_videos/{i}.mp4", i)


def msrvtt(root):
    """Numbers of videos as published say which split one is of: below 6513, 7010 and 10000."""
    numbers = [*range(4), *range(6513, 6516), *range(9000, 9000 + TEST)]
    splits = ["train"] * 4 + ["validate"] * 3 + ["test"] * TEST
    videos = [{"video_id": f"video{n}", "split": s} for n, s in zip(numbers, splits, strict=True)]
    sentences = [
        {"video_id": f"video{n}", "caption": f"a {word} {n}"}
        for n in numbers
        for word in ("ball", "bell")
    ]
    (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    table(root / "MSRVTT_train.9k.csv", ["video_id"], [[f"video{n}"] for n in numbers[:7]])
    rows = [[f"ret{n}", f"msr{n}", f"video{n}", f"a ball {n}"] for n in numbers[7:]]
    table(root / "MSRVTT_JSFUSION_test.csv", ["key", "vid_key", "video_id", "sentence"], rows)
    for n in numbers:
        film(root / f"videos/video{n}.mp4", n % 100)


def vatex(root):
    parts = {
        "vatex_training_v1.0.json": range(4),
        "vatex_validation_v1.0.json": range(4, 7),
        "vatex_public_test_english_v1.1.json": range(7, 7 + TEST),
    }
    for name, numbers in parts.items():
        ids = [f"Ptf_2VRj-{n:02}_000010_000020" for n in numbers]
        held = [{"videoID": one, "enCap": [f"a ball {one}", f"a bell {one}"]} for one in ids]
        (root / name).write_text(json.dumps(held))
        for n, one in zip(numbers, ids, strict=True):
            film(root / f"videos/{one}.mp4", n)


def audiocaps(root):
    number = 0
    for split, count in CUT.items():
        rows = []
        for _ in range(count):
            number += 1
            rows += [[f"{number}{i}", f"vfY_TJq7n_{number}", 30, f"a {i} {number}"] for i in "ab"]
            film(root / f"audio/vfY_TJq7n_{number}_30.mp4", number)
        table(root / f"{split}.csv", ["audiocap_id", "youtube_id", "start_time", "caption"], rows)


def esc50(root):
    rows = []
    for fold in range(1, 6):
        for number, (target, name) in enumerate([(0, "dog"), (14, "chirping_birds")] * 2):
            file = f"{fold}-{fold}{number}-A-{target}.wav"
            rows.append([file, fold, target, name, target == 0, f"{fold}{number}", "A"])
            sound(root / "audio" / file, 10 * (number % 2) + fold)
    header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    table(root / "meta/esc50.csv", header, rows)


def ucf101(root):
    """Two videos of a group that each list tests, and of one that none does; one class has sound."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\r\n2 YoYo\r\n")
    for label, category in enumerate(("Archery", "YoYo")):
        for group in (1, 8, 15, 22):
            for clip in (1, 2):
                path = root / "UCF-101" / category / f"v_{category}_g{group:02}_c{clip:02}.avi"
                film(path, 4 * label + group, bool(label))
    names = [f"{one.parent.name}/{one.name}" for one in sorted(root.rglob("*.avi"))]
    for number in (1, 2, 3):
        own = f"_g{7 * number - 6:02}_"
        (lists / f"testlist0{number}.txt").write_text(
            "".join(f"{name}\n" for name in names if own in name)
        )
        (lists / f"trainlist0{number}.txt").write_text(
            "".join(f"{name} {1 + name.startswith('Y')}\r\n" for name in names if own not in name)
        )


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A folder with a small corpus of each layout."""
    root = tmp_path_factory.mktemp("official")
    for make in (avcaps, msrvtt, vatex, audiocaps, esc50, ucf101):
        (root / make.__name__).mkdir()
        make(root / make.__name__)
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_clip4vla):
    """A run of CLIP4VLA's kind and one that writes captions, nothing trained."""
    folder = tmp_path_factory.mktemp("runs")
    models = {
        "RUN": replace(tiny_clip4vla, fusion=GlobalToGlobal()),
        "CAPTIONER": replace(
            tiny_clip4vla,
            text=replace(tiny_clip4vla.text, tokens=True, longest=16),
            captioner=CaptionGenerator(from_text=False, layers=1, text_slots=16),
        ),
    }
    for name, model in models.items():
        run = Run(folder / name)
        experiment = Experiment(system=name.lower(), model=model, stages=())
        run.start(experiment, "none")
        torch.manual_seed(0)
        run.finish(model.build(), experiment.objective.build(), Progress())
    return folder


@pytest.fixture
def small_protocols(monkeypatch):
    for place in ("evaluation.named", "cli.caption_measurement"):
        monkeypatch.setattr(f"trichord.{place}.PROTOCOLS", SMALL)


QUICK = {"CAPTIONER": " --captions.no-meteor --captions.resamples 9 --captions.longest 4"}
"""What the published number does not have, and which saves most of the time."""
OFFLINE = [name for name in ROWS if not name.startswith("LAION")]


def test_each_corpus_has_its_line():
    assert len(ROWS) == 10
    assert {line.split()[1] for line, _ in ROWS.values()} == {
        *("avcaps", "msrvtt-9k", "msrvtt-full", "vatex", "audiocaps", "esc50", "ucf101", "mteb")
    }


@pytest.mark.parametrize("name", OFFLINE)
def test_the_commands_beside_a_published_number_measure_it(
    name, official, finished, small_protocols, command, monkeypatch, tmp_path
):
    if "probe" in ROWS[name][1]:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(official)
    for file in official.glob("*.jsonl"):
        file.unlink()
    prepared, measured = ROWS[name]
    word = measured.split()[1]
    run = tmp_path / word
    shutil.copytree(finished / word, run)
    assert command(prepared) == 0
    assert command(measured.replace(word, str(run)) + QUICK.get(word, "")) == 0
    [file] = [
        one for one in run.glob("*.json") if one.stem.startswith(("evaluation", "probe", "capt"))
    ]
    report = json.loads(file.read_text())
    if asked := re.search(r"--protocol (\S+)", measured):
        assert report["protocol"]["name"] == asked[1]
    assert report["rows"]
    assert all(row["sizes"] for row in report["rows"])
