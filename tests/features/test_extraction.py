import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.encoders.clip import padded_width
from trichord.features import extraction
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import IMPORTED, FeatureFolder, FeatureRow
from trichord.media import Decoder
from trichord.types import Caption, Clip
from trichord_world.law import scenes


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Twelve rendered clips, a file that is none, and one that is missing."""
    from trichord_world.difficulty import DEFAULT
    from trichord_world.render import render

    root = tmp_path_factory.mktemp("rendered")
    clips = []
    for scene in scenes("train", 12, 3):
        render(scene, DEFAULT, root / f"{scene.id}.mp4")
        said = (Caption(text=f"a {scene.colour} {scene.thing}", about="visual"),)
        clips.append(Clip(id=scene.id, path=str(root / f"{scene.id}.mp4"), captions=said))
    (root / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"x" * 50)
    clips.append(Clip(id="broken", path=str(root / "broken.mp4")))
    clips.append(Clip(id="gone", path=str(root / "gone.mp4")))
    return clips


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=2) as pool:
        yield pool


def everything(model, clips, folder, decoder):
    texts = [caption.text for clip in clips for caption in clip.captions]
    return [
        status
        for part in (
            *extract_texts(model, texts, folder),
            *extract_media(model, clips, folder, decoder),
        )
        for status in part.statuses
    ]


def test_features_equal_what_the_model_makes_of_the_media(tiny_model, rendered, decoder, tmp_path):
    folder = FeatureFolder(tmp_path)
    everything(tiny_model, rendered, folder, decoder)
    cached = FeatureSource(rendered, tiny_model, folder).batch(np.arange(14), None)
    direct = tiny_model.apply_trunks(
        MediaSource(rendered, tiny_model, decoder).batch(np.arange(14), None)
    )
    for modality in ("vision", "audio"):
        one, other = cached.of(modality), direct.of(modality)
        assert one.mask.tolist() == other.mask.tolist()
        np.testing.assert_allclose(one.values.numpy(), other.values.numpy(), atol=1e-5)


@pytest.mark.parametrize("role", ["text", "sound_text"])
def test_what_a_text_is_read_beside_does_not_move_it(role, untrained_model, tmp_path, monkeypatch):
    tower = getattr(untrained_model, role)
    texts = [f"{'red ' * (i * 7 % 12)}bells {'ring and ' * (i // 12)}" for i in range(96)]
    widths = []

    def noted(stage, prepared, threads, ahead):
        for some, ids in prepared:
            if stage.args[0] is tower:
                widths.append((ids.shape[1], tower.lengths(ids).tolist()))
            yield stage((some, ids))

    monkeypatch.setattr(extraction, "parallel_map", noted)
    monkeypatch.setattr(extraction, "TEXTS_AT_ONCE", 16)
    found = {}
    for name, order in (
        ("one", texts),
        ("other", texts[::-1]),
        ("third", texts[1::2] + texts[::2]),
    ):
        folder = FeatureFolder(tmp_path / name)
        parts = list(extract_texts(untrained_model, order, folder))
        read = [key for part in parts if part.what == role for key in part.keys]
        assert sorted(read) == sorted(texts)
        found[name] = folder.table(role, tower).load(texts)[0].values
    for name in ("other", "third"):
        if role == "text":
            assert torch.equal(found["one"], found[name])
        else:  # some processors sum CLAP's products of 16 rows in another order: bits move, 1e-6 does not
            torch.testing.assert_close(found["one"], found[name], atol=1e-6, rtol=0)
    assert len({width for width, _ in widths}) > 3
    for width, counts in widths:
        assert width - 8 < min(counts) <= max(counts) <= width


def test_a_bad_file_costs_one_status_and_is_not_tried_again(
    tiny_model, rendered, decoder, tmp_path
):
    folder = FeatureFolder(tmp_path)
    statuses = everything(tiny_model, rendered, folder, decoder)
    assert statuses.count("corrupt") == 2
    source = FeatureSource(rendered, tiny_model, folder)
    assert not source.batch(np.array([12, 13]), None).vision.mask.any()
    again = everything(tiny_model, rendered, folder, decoder)
    assert again == ["done"] * 14


def test_a_changed_file_or_span_is_read_again(tiny_model, rendered, decoder, tmp_path):
    shutil.copy(rendered[0].path, tmp_path / "a.mp4")
    clips = [Clip(id="a", path=str(tmp_path / "a.mp4"))]
    folder = FeatureFolder(tmp_path / "cache")
    assert everything(tiny_model, clips, folder, decoder)[0] != "done"
    assert everything(tiny_model, clips, folder, decoder) == ["done"]
    assert everything(tiny_model, [replace(clips[0], end=2.0)], folder, decoder) != ["done"]
    shutil.copy(rendered[1].path, tmp_path / "a.mp4")
    assert everything(tiny_model, clips, folder, decoder) != ["done"]


def test_spans_of_one_file_are_decoded_together_and_differ(tiny_model, rendered, decoder, tmp_path):
    path = next(
        c.path for c, s in zip(rendered, scenes("train", 12, 3), strict=False) if not s.dark
    )
    halves = [Clip(id="1", path=path, end=2.0), Clip(id="2", path=path, start=2.0)]
    folder = FeatureFolder(tmp_path)
    everything(tiny_model, halves, folder, decoder)
    held, _ = folder.table("vision", tiny_model.vision).load(["1", "2"])
    assert held.starts.tolist() == [0, 2, 4]
    assert not np.allclose(held.values[:2], held.values[2:])


def test_imported_features_are_kept_while_the_rest_is_read(tiny_model, rendered, decoder, tmp_path):
    folder = FeatureFolder(tmp_path)
    brought = np.ones((3, 32), np.float32)
    table = folder.table("vision", tiny_model.vision)
    table.put([FeatureRow(clip.id, IMPORTED, "ok", brought) for clip in rendered])
    everything(tiny_model, rendered, folder, decoder)
    assert set(table.origins().values()) == {IMPORTED}
    assert len(folder.table("audio", tiny_model.audio).origins()) == 14
    assert everything(tiny_model, rendered, folder, decoder) == ["done"] * 14


def test_the_untrained_pair_reads_each_caption_with_both_text_towers(untrained_model, tmp_path):
    folder = FeatureFolder(tmp_path)
    parts = list(extract_texts(untrained_model, ["a", "b", "a"], folder))
    assert [(part.what, len(part.statuses)) for part in parts] == [("text", 2), ("sound_text", 2)]


@pytest.mark.parametrize("threads", [1, 3])
def test_several_threads_read_the_same_features_of_texts(
    untrained_model, tmp_path, monkeypatch, threads
):
    texts = [f"{'red ' * (i % 10)}bells ring {'slowly ' * (i // 10)}" for i in range(60)]
    monkeypatch.setattr(extraction, "TEXTS_AT_ONCE", 8)
    seen = set()
    tower = untrained_model.text
    read = tower.trunk_features

    def reading(prepared):
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.01)  # else the first thread may be free again when the next text comes
        return read(prepared)

    monkeypatch.setattr(tower, "trunk_features", reading)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    before = torch.get_num_threads()
    list(extract_texts(untrained_model, texts, FeatureFolder(tmp_path)))
    assert torch.get_num_threads() == before
    assert len(seen) == threads
    assert {at_work for _, at_work in seen} == {1}
    held, _ = FeatureFolder(tmp_path).table("text", tower).load(texts)
    counts = tower.lengths(tower.prepare(texts)).tolist()
    alike = {padded_width(count, tower.max_tokens): [] for count in counts}
    for row, count in enumerate(counts):
        alike[padded_width(count, tower.max_tokens)].append(row)
    assert len(alike) > 1
    for rows in (some[at : at + 8] for some in alike.values() for at in range(0, len(some), 8)):
        with torch.inference_mode():
            alone = tower.trunk(tower.prepare([texts[row] for row in rows]))
        assert torch.equal(held.values[rows], alone)


def test_an_open_extraction_of_texts_leaves_its_caller_the_threads(
    untrained_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(extraction, "TEXT_PARTS", 1)
    monkeypatch.setattr(extraction, "TEXTS_AT_ONCE", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        parts = extract_texts(untrained_model, ["a", "b", "c", "d"], FeatureFolder(tmp_path))
        next(parts)
        assert torch.get_num_threads() == 2
        parts.close()
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as fresh:  # a new thread takes the number of the process
            assert fresh.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_only_the_towers_that_are_asked_for_are_read(tiny_model, made_up, tmp_path):
    clips, folder = [Clip(id="a", path="/made/up/a.mp4")], FeatureFolder(tmp_path)
    assert not list(extract_media(tiny_model, clips, folder, made_up, ("text",)))
    list(extract_media(tiny_model, clips, folder, made_up, ("text", "vision")))
    assert set(folder.table("vision", tiny_model.vision).origins()) == {"a"}
    assert not folder.table("audio", tiny_model.audio).origins()
    ((_, plan),) = made_up.asked
    assert plan.rates == ()
    list(extract_media(tiny_model, clips, folder, made_up))
    assert set(folder.table("audio", tiny_model.audio).origins()) == {"a"}


@pytest.fixture
def told(tiny_clip4vla):
    """A model whose audio tower takes an audio type token per clip."""
    torch.manual_seed(0)
    sound = replace(tiny_clip4vla.audio, token="clip")
    return replace(tiny_clip4vla, audio=sound).build().eval()


def test_what_a_clip_sounds_like_is_read_into_its_features(told, made_up, tmp_path):
    clip, folder = Clip(id="a", path="/made/up/a.mp4"), FeatureFolder(tmp_path)
    heard = told.audio_inputs(made_up.hold("a", told.plan))
    table = folder.table("audio", told.audio)
    for sound, token in (("verbal", 0.0), ("nonverbal", 1.0), ("both", 0.5), (None, 0.5)):
        list(extract_media(told, [replace(clip, audio_type=sound)], folder, made_up))
        told.audio.choose_audio_type(token)
        with torch.inference_mode():
            expected = told.audio.run_trunk(heard)
        told.audio.choose_audio_type("clip")
        torch.testing.assert_close(table.load(["a"])[0].values, expected, atol=1e-5, rtol=0)


def test_a_clip_that_turns_out_to_sound_otherwise_is_heard_again_but_not_seen_again(
    told, tiny_model, made_up, tmp_path
):
    clip, folder = Clip(id="a", path="/made/up/a.mp4", audio_type="verbal"), FeatureFolder(tmp_path)

    def statuses(model, one):
        parts = extract_media(model, [one], folder, made_up)
        return [status for part in parts for status in part.statuses]

    assert statuses(told, clip) == ["ok"]
    assert statuses(told, clip) == ["done"]
    seen = folder.table("vision", told.vision).origins()
    assert statuses(told, replace(clip, audio_type="nonverbal")) == ["ok"]
    assert folder.table("vision", told.vision).origins() == seen
    # CLAP does not heed it; its features of the same frames are those of the other model.
    assert statuses(tiny_model, clip) == ["ok"]
    assert statuses(tiny_model, replace(clip, audio_type=None)) == ["done"]
    assert folder.table("vision", tiny_model.vision).origins() == seen
    assert statuses(told, replace(clip, audio_type="nonverbal")) == ["done"]


def test_words_are_cached_a_step_each(tiny_clip4vla, tmp_path):
    text = replace(tiny_clip4vla.text, tokens=True)
    wordy = replace(tiny_clip4vla, text=text).build().eval()
    folder, texts = FeatureFolder(tmp_path), ["a bell", "a low bell rings"]
    list(extract_texts(wordy, texts, folder))
    held, _ = folder.table("text", wordy.text).load(texts)
    ids = wordy.text.tokenizer(texts)["input_ids"]
    assert held.starts.tolist() == [0, len(ids[0]), len(ids[0]) + len(ids[1])]
    with torch.inference_mode():
        hidden = wordy.text.trunk(torch.tensor([ids[0]]))[0]
    torch.testing.assert_close(held.values[: len(ids[0])], hidden, atol=1e-5, rtol=0)


SCRIPT = """
import sys
from pathlib import Path
from trichord.config import Clap, ClipText, ClipVision, TriModal
from trichord.corpora.manifest import read_manifest
from trichord.features import extraction
from trichord.features.store import FeatureFolder
from trichord.media import Decoder

extraction.ROWS_AT_ONCE = 2
clip, clap, manifest, out = sys.argv[1:]
towers = {"text": ClipText(name=clip), "vision": ClipVision(name=clip), "audio": Clap(name=clap)}
model = TriModal(**towers).build()
with Decoder(workers=1) as decoder:
    print("ready", flush=True)
    clips, folder = read_manifest(Path(manifest)), FeatureFolder(Path(out))
    for part in extraction.extract_media(model, clips, folder, decoder):
        print(len(part.statuses), flush=True)
"""


@pytest.mark.parametrize(
    "stop", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_killed_extraction_goes_on_and_ends_as_an_uninterrupted_one(
    stop, tiny_model, tiny_towers, rendered, decoder, tmp_path
):
    from trichord.corpora.manifest import write_manifest

    manifest = tmp_path / "clips.jsonl"
    write_manifest(manifest, rendered)
    line = [sys.executable, "-c", SCRIPT, str(tiny_towers / "clip"), str(tiny_towers / "clap")]
    line += [str(manifest), str(tmp_path / "killed")]
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    ) as child:
        for _ in range(3):  # ready, nothing done yet, and a first group
            child.stdout.readline()
        time.sleep(0.05)
        child.send_signal(stop)
    killed, whole = FeatureFolder(tmp_path / "killed"), FeatureFolder(tmp_path / "whole")
    held = killed.table("vision", tiny_model.vision).origins()
    assert 0 < len(held) < 14
    everything(tiny_model, rendered, killed, decoder)
    everything(tiny_model, rendered, whole, decoder)
    for name in ("vision", "audio"):
        tower = tiny_model.encoders()[name]
        ids = [clip.id for clip in rendered]
        one, other = (folder.table(name, tower).load(ids) for folder in (killed, whole))
        assert one[1] == other[1]
        assert one[0].starts.tolist() == other[0].starts.tolist()
        np.testing.assert_allclose(one[0].values, other[0].values, atol=1e-5)
