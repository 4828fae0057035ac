"""Any model that a user names, in one option."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest
from model_hub import ModelHub, visiting
from small_families import altclip, chinese_clip, metaclip2, naflex, siglip

from trichord.api.collection_model import persistent_model_of
from trichord.checkpoint import Run
from trichord.cli.threads import load_embedder
from trichord.config import CLAP, AudioTrunk, ClipText, ClipVision, VisionTrunk
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.encoders.hub import WEIGHTS
from trichord.experiments import EXPERIMENTS, load_experiment
from trichord.experiments.named_models import MODELS, load_named_model, put_into
from trichord.media import Decoder
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.service.app import create
from trichord.types import UserError

FEW = "--stages.0.epochs 1 --stages.0.batch-size 8"
FAMILIES = {
    "siglip": (siglip, 32),
    "naflex": (naflex, 32),
    "metaclip2": (metaclip2, 24),
    "chinese_clip": (chinese_clip, 24),
    "altclip": (altclip, 24),
}
"""Writes a folder; the size of its space."""


def test_the_models_are_listed_with_their_facts(command, capsys):
    assert command("models --json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"clip-clap", "siglip2-clap", "clip-clip4vla"} <= rows.keys()
    assert rows["siglip2-clap"]["compares"] == ["text-audio", "text-vision"]
    assert rows["clip-clip4vla"]["compares"] == ["audio-vision", "text-audio", "text-vision"]
    for row in (rows[kind] for kind in MODELS.own):
        assert row["licence"]
        assert row["languages"]
        assert row["parameters_millions"] > 0
    assert command("models") == 0
    assert "siglip2-clap: SigLIP 2 and CLAP" in capsys.readouterr().out


def test_experiments_of_packages_that_need_no_training_are_models(command, capsys):
    assert command("models --json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    world = rows["world-clip-clap"]
    assert world["origin"].startswith("trichord-world ")
    assert world["weights"] == ["stand-in-clip", "stand-in-clap"]
    assert world["cached"]
    assert "world-slava-a-and-v" not in rows  # it has to be trained
    assert command("models") == 0
    assert f"world-clip-clap (of {world['origin']}): " in capsys.readouterr().out


@pytest.mark.parametrize("kind", MODELS.own)
def test_a_named_model_is_an_experiment_and_fits_into_others(kind):
    named = MODELS.find(kind)
    assert load_experiment(kind).model == named.model
    slava = EXPERIMENTS["slava-a-and-v"][1].model
    model = put_into(slava, named)
    assert model.towers() == named.aligned.towers()
    assert model.sound_text is None


def test_a_config_names_the_types_that_its_encoder_reads():
    from trichord.encoders import audio_trunks, clip, vision_trunks

    assert VisionTrunk.types == vision_trunks.FAMILIES.keys()
    assert AudioTrunk.types == audio_trunks.TYPES
    assert clip.OTHER_LANGUAGES.keys() <= ClipText.types & ClipVision.types


@pytest.mark.parametrize(
    "family",
    [one if one == "siglip" else pytest.param(one, marks=pytest.mark.slow) for one in FAMILIES],
)
def test_a_folder_of_weights_goes_the_whole_way(
    family, corpus, command, tmp_path, monkeypatch, capsys
):
    write, dim = FAMILIES[family]
    folder = write(tmp_path / family)
    hub = ModelHub(tmp_path / "hub")
    hub.publish(CLAP, WEIGHTS.find("stand-in-clap"), "safetensors")
    (tmp_path / "clips.jsonl").write_text((corpus / "clips.jsonl").read_text())
    clips = read_manifest(tmp_path / "clips.jsonl")
    labelled = [replace(c, labels=(("siren", "bell")[i % 2],)) for i, c in enumerate(clips)]
    write_manifest(tmp_path / "labelled.jsonl", labelled)
    (tmp_path / "labelled.features").symlink_to(tmp_path / "clips.features")
    lines = (
        f"index {corpus}/media {tmp_path}/archive --model {folder} --no-speech",
        f"search {tmp_path}/archive siren --json",
        f"extract {tmp_path}/clips.jsonl --model {folder}",
        f"train slava-a-and-v {tmp_path}/clips.jsonl {tmp_path}/run {FEW} --model {folder} "
        f"--model.audio.dim {dim}",
        f"evaluate {tmp_path}/run {tmp_path}/clips.jsonl",
        f"train {family_experiment(folder, tmp_path)} {tmp_path}/clips.jsonl {tmp_path}/zero",
        f"evaluate {tmp_path}/zero {tmp_path}/clips.jsonl",
        f"evaluate {folder} {tmp_path}/clips.jsonl --to {tmp_path}/folder.json",
        f"compare {tmp_path}/folder.json {tmp_path}/run",
        f"classify {folder} {tmp_path}/labelled.jsonl --modality vision --to {tmp_path}/classes",
        f"probe {folder} {tmp_path}/labelled.jsonl --modality audio --to {tmp_path}/classes",
    )
    with hub.serving(), visiting(hub, monkeypatch, tmp_path / "cache"):
        for line in lines:
            assert command(line) == 0, line
            out = capsys.readouterr().out
            if line.startswith("search"):
                hits = json.loads(out)
                assert len(hits) > 0
                assert served(tmp_path / "archive", "siren") == [
                    (pytest.approx(one["score"], abs=1e-5), one["moment"]["start"]) for one in hits
                ]
        model = Run(tmp_path / "run").load()
    run, named = (
        json.loads((tmp_path / name).read_text())
        for name in ("zero/evaluation.json", "folder.json")
    )
    assert named.pop("run") == f"{folder}, before training"
    assert named["provenance"]["names"]["model.vision.name"] == family
    assert named["provenance"]["names"]["model.audio.name"].endswith(f"@{hub.commit(CLAP)}")
    assert list(named["left_out"]) == ["visual<-sound"]
    assert run.pop("run") == "zero"
    # The way to name the same weights is a Python file here, whose print a run notes.
    parts = [key for key in run["provenance"]["settings"] if key.startswith("parts.")]
    for key in parts:
        del run["provenance"]["settings"][key]
    assert run == named
    assert {one.dim for one in model.encoders().values()} == {dim}
    assert model.audio.head.out_features == dim


def served(archive, text):
    """Scores and starts of the hits that the service finds, as `trichord serve` answers."""
    collection = StoredCollection.open(archive)
    model = persistent_model_of(collection, load=load_embedder)

    async def ask():
        with Decoder(workers=1) as decoder:
            app = create(SearchEngine(collection, model, decoder))
            there = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=there, base_url="http://127.0.0.1:8000"
            ) as client:
                return await client.post("/api/search", json={"parts": [{"text": text}]})

    answer = asyncio.run(ask())
    assert answer.status_code == 200, answer.text
    return [(hit["score"], hit["start"]) for hit in answer.json()["hits"]]


def family_experiment(folder, place):
    """The same weights as an experiment without stages, in a file."""
    path = place / "zero.py"
    path.write_text(
        "from trichord.experiments import load_experiment\n"
        f"ZERO = load_experiment({str(folder)!r})\n"
    )
    return f"{path}:ZERO"


def test_one_side_alone_is_chosen_by_the_name_of_its_family(tiny_towers, tmp_path, command, capsys):
    folder = siglip(tmp_path / "siglip")
    line = (
        f"train slava-a-and-v {tmp_path}/none.jsonl {tmp_path}/run --model.vision siglip2 "
        f"--model.vision.name {folder}"
    )
    assert command(line) == 2
    assert "none.jsonl" in capsys.readouterr().err  # the options were understood


def test_encoders_of_other_sizes_are_refused_with_the_remedy(tiny_towers, tmp_path):
    from trichord.config import Clap, SiglipVision, TriModal

    clip, clap = str(tiny_towers / "clip"), str(tiny_towers / "clap")
    vision = SiglipVision(name=str(siglip(tmp_path / "siglip")))
    model = TriModal(text=ClipText(name=clip), vision=vision, audio=Clap(name=clap))
    with pytest.raises(UserError, match=r"as in --model.vision.dim 24\."):
        model.build()
    built = replace(model, vision=replace(vision, dim=24)).build()
    assert built.vision.head.weight.shape == (24, 32)


def test_weights_that_are_no_model_are_refused(tiny_towers, tmp_path, command, capsys):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="is of type 'bert', which is of no known family"):
        load_named_model(str(tmp_path / "odd"))
    (tmp_path / "sight").mkdir()
    (tmp_path / "sight" / "config.json").write_text('{"model_type": "siglip_vision_model"}')
    with pytest.raises(
        UserError, match="which reads vision alone: give a model of texts and pictures"
    ):
        load_named_model(str(tmp_path / "sight"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="names no model type"):
        load_named_model(str(tmp_path / "empty"))
    assert command(f"train slava-a-and-v c.jsonl {tmp_path}/r --model siglip-clap") == 2
    assert "did you mean 'siglip2-clap'" in capsys.readouterr().err
