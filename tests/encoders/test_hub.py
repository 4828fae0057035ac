"""Models of a hub: every way in which their weights may lie, with and without a network."""

import json
import pickle
import shutil
import socket
import threading
from pathlib import Path

import pytest
import torch
from model_hub import STATES, ModelHub, visiting
from safetensors.torch import load_file, save_file

from trichord.config import Clap, ClapText, ClipText, ClipVision
from trichord.encoders import hub as module
from trichord.encoders.hub import NotCachedError, fetch_model
from trichord.types import UserError

NAME = "somebody/clip"


@pytest.fixture(params=STATES)
def hub(request, tiny_towers, tmp_path):
    """A hub with a CLIP and a CLAP, whose weights lie in one of the ways."""
    there = ModelHub(tmp_path / "hub")
    there.publish(NAME, tiny_towers / "clip", request.param)
    there.publish("somebody/clap", tiny_towers / "clap", request.param)
    with there.serving():
        yield there


@pytest.fixture
def plain_hub(tiny_towers, tmp_path):
    """A hub with a CLIP as safetensors on `main`."""
    there = ModelHub(tmp_path / "hub")
    there.publish(NAME, tiny_towers / "clip", "safetensors")
    with there.serving():
        yield there


def towers(clip, clap):
    return [ClipText(name=clip), ClipVision(name=clip), Clap(name=clap), ClapText(name=clap)]


def fingerprints(clip, clap):
    return [tower.build().fingerprint for tower in towers(clip, clap)]


def test_towers_are_the_same_in_every_state_online_and_offline(
    hub, tiny_towers, tmp_path, monkeypatch
):
    expected = fingerprints(str(tiny_towers / "clip"), str(tiny_towers / "clap"))
    with visiting(hub, monkeypatch, tmp_path / "cache"):
        assert fingerprints(NAME, "somebody/clap") == expected
        commits = {name: fetch_model(name).name for name in (NAME, "somebody/clap")}
    assert commits == {name: hub.commit(name) for name in commits}
    asked = [path for _, path in hub.asked]
    assert not [path for path in asked if "/pr/" in path or "discussions" in path]
    if (hub.folder(NAME, "main") / "model.safetensors").is_file():
        assert not [path for path in asked if path.endswith(".bin")]

    before = len(hub.asked)
    with visiting(hub, monkeypatch, tmp_path / "cache", offline=True):
        assert fingerprints(NAME, "somebody/clap") == expected
    hub.down = True
    module._from_hub.cache_clear()  # as in another process
    with visiting(hub, monkeypatch, tmp_path / "cache"):
        assert fingerprints(NAME, "somebody/clap") == expected
    assert {path for _, path in hub.asked[before:]} == {
        f"/api/models/{name}" for name in (NAME, "somebody/clap")
    }


def test_a_file_is_fetched_once_and_a_commit_is_kept_to(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        first = fetch_model(NAME)
        got = [path for method, path in plain_hub.asked if method == "GET" and "resolve" in path]
        assert len(got) == len(set(got))
        assert fetch_model(NAME) == first  # of one process, whatever is pushed meanwhile
        plain_hub.push(NAME, "README.md", "pushed")
        assert fetch_model(NAME) == first

        module._from_hub.cache_clear()
        asked = len(plain_hub.asked)
        second = fetch_model(NAME)
        assert second.name == plain_hub.commit(NAME) != first.name
        assert not (second / "README.md").exists()
        assert not [m for m, path in plain_hub.asked[asked:] if m == "GET" and "weights" in path]
        assert fetch_model(f"{NAME}@{first.name}") == first
    with visiting(plain_hub, monkeypatch, tmp_path / "cache", offline=True):
        assert fetch_model(NAME) == second
        assert fetch_model(f"{NAME}@{first.name}") == first


def test_a_push_between_two_requests_does_not_mix_commits(plain_hub, tmp_path, monkeypatch):
    listing = module.Remote.listing

    def pushed(self):
        found = listing(self)
        if not (plain_hub.folder(NAME, "main") / "README.md").exists():
            plain_hub.push(NAME, "README.md", "pushed")
        return found

    monkeypatch.setattr(module.Remote, "listing", pushed)
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        folder = fetch_model(NAME)
    assert folder.name == plain_hub.commit(NAME)
    assert (folder / "model.safetensors").is_file()


def test_a_tokenizer_alone_comes_without_the_weights(plain_hub, tmp_path, monkeypatch):
    from trichord.encoders.byte_pairs import load_tokenizer

    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        assert len(load_tokenizer(NAME)) > 256
    assert not [path for _, path in plain_hub.asked if "model.safetensors" in path]


def one_line(call):
    with pytest.raises(UserError) as told:
        call()
    assert "\n" not in str(told.value)
    return str(told.value)


def test_what_a_hub_refuses_is_one_line_with_a_remedy(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        unknown = one_line(lambda: fetch_model("somebody/nothing"))
        assert f"nor a model of that name at {plain_hub.address}: check the spelling" in unknown
        assert "no commit 'abc'" in one_line(lambda: fetch_model(f"{NAME}@abc"))
        assert "(user/model)" in one_line(lambda: fetch_model("no such folder/at all/here"))
        (plain_hub.folder(NAME, "main") / "model.safetensors").unlink()
        assert "no weights in the transformers format" in one_line(lambda: fetch_model(NAME))


def test_without_network_and_cache_the_page_is_named(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache", offline=True):
        line = one_line(lambda: fetch_model(NAME))
        assert f"HF_HUB_OFFLINE is set, and it is not in {tmp_path / 'cache'}" in line
        assert module.PAGE in line
    plain_hub.down = True
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        line = one_line(lambda: fetch_model(NAME))
        assert f"{plain_hub.address} does not answer (" in line
        assert module.PAGE in line
    assert (Path(__file__).parents[2] / module.PAGE).is_file()


def visits(server):
    """How often a server was connected to."""
    server.settimeout(0.05)
    count = 0
    try:
        while True:
            server.accept()[0].close()
            count += 1
    except TimeoutError:
        return count


def test_a_hub_that_accepts_and_says_nothing_is_waited_for_once(
    plain_hub, tiny_towers, tmp_path, monkeypatch
):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        expected = ClipText(name=NAME).build().fingerprint
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        plain_hub.address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
            assert ClipText(name=NAME).build().fingerprint == expected
        assert visits(silent) == 1
        with visiting(plain_hub, monkeypatch, tmp_path / "empty"):
            assert "does not answer (" in one_line(lambda: fetch_model(NAME))
        assert visits(silent) == 1


def test_a_hub_whose_client_hangs_is_given_up(plain_hub, tmp_path, monkeypatch):
    """Looking up a name, or one address after another, heeds no timeout of the client."""
    hung = threading.Event()
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: hung.wait())
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        line = one_line(lambda: fetch_model(NAME))
    hung.set()
    assert f"{plain_hub.address} does not answer (no answer in 0.2 s), and it is not in" in line
    assert module.PAGE in line


def test_what_was_fetched_stays_when_it_is_deleted_at_the_hub(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        folder = fetch_model(NAME)
        shutil.rmtree(plain_hub.root / "somebody--clip")
        module._from_hub.cache_clear()
        assert fetch_model(NAME) == folder
        assert fetch_model(f"{NAME}@{folder.name}") == folder


def test_a_cache_without_weights_says_so(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"):
        (fetch_model(NAME) / "model.safetensors").unlink()
    with visiting(plain_hub, monkeypatch, tmp_path / "cache", offline=True):
        assert "its weights are not in" in one_line(lambda: fetch_model(NAME))


def test_a_hub_without_one_of_the_shards_says_so(tiny_towers, tmp_path, monkeypatch):
    hub = ModelHub(tmp_path / "hub")
    hub.publish(NAME, tiny_towers / "clip", "sharded")
    (hub.folder(NAME, "main") / "model-00002-of-00003.safetensors").unlink()
    with hub.serving(), visiting(hub, monkeypatch, tmp_path / "cache"):
        assert "could not be fetched whole" in one_line(lambda: fetch_model(NAME))


# Weights that are not whole, or not of the kind


@pytest.fixture
def clip(tiny_towers, tmp_path):
    """A folder to spoil."""
    return shutil.copytree(tiny_towers / "clip", tmp_path / "clip")


def vision(folder):
    return ClipVision(name=str(folder)).build()


def text(folder):
    return ClipText(name=str(folder)).build()


def change(folder, tensors):
    weights = load_file(folder / "model.safetensors")
    save_file(tensors(weights), folder / "model.safetensors", {"format": "pt"})


def test_a_projection_that_is_missing_is_not_drawn(clip):
    change(clip, lambda all: {k: v for k, v in all.items() if k != "visual_projection.weight"})
    line = one_line(lambda: vision(clip))
    assert f"(type 'clip', {clip / 'model.safetensors'}) lack 1 of the 40 tensors" in line
    assert "of CLIPVisionModelWithProjection (visual_projection.weight)" in line
    text(clip)  # of which nothing is missing


def test_a_layer_too_few_is_refused_and_one_too_many_too(clip):
    config = json.loads((clip / "config.json").read_text())
    for layers, what in ((3, "lack 16 of the"), (1, "have 16 that its config.json")):
        config["vision_config"]["num_hidden_layers"] = layers
        (clip / "config.json").write_text(json.dumps(config))
        line = one_line(lambda: vision(clip))
        assert what in line
        assert "vision_model.encoder.layers." in line


def test_a_tensor_of_another_shape_is_named(clip):
    change(clip, lambda all: all | {"text_projection.weight": torch.zeros(20, 32)})
    line = one_line(lambda: text(clip))
    assert "have 1 of another shape" in line
    assert "text_projection.weight" in line


def test_a_folder_of_texts_alone_is_no_vision_tower(clip):
    change(clip, lambda all: {k: v for k, v in all.items() if k.startswith("text")})
    assert "lack 40 of the 40 tensors" in one_line(lambda: vision(clip))
    text(clip)


def test_another_kind_of_model_is_refused_by_its_name(tiny_towers, clip):
    line = one_line(lambda: text(tiny_towers / "clap"))
    assert "is of type 'clap'" in line
    assert "takes altclip, chinese_clip, clip, " in line
    assert "is of type 'clip'" in one_line(lambda: Clap(name=str(clip)).build())
    assert "is of type 'clip'" in one_line(lambda: ClapText(name=str(clip)).build())


@pytest.mark.parametrize("family", ["Siglip", "Blip", "XCLIP"])
def test_families_of_their_own_are_no_clip(family, clip):
    import transformers

    config = getattr(transformers, f"{family}Config")().to_dict()
    (clip / "config.json").write_text(json.dumps(config))
    for build in (text, vision):
        assert f"is of type '{config['model_type']}'" in one_line(lambda build=build: build(clip))


def test_a_processor_of_another_size_is_refused(clip):
    path = clip / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    settings["crop_size"] = {"height": 48, "width": 48}
    path.write_text(json.dumps(settings))
    line = one_line(lambda: vision(clip))
    assert "48 x 48" in line
    assert "32" in line


def test_a_folder_without_a_tokenizer_has_none_made_up(clip):
    for path in clip.glob("*token*"):
        path.unlink()
    assert "no tokenizer of its own" in one_line(lambda: text(clip))


def test_a_tokenizer_with_more_tokens_than_the_tower_is_anothers(clip, tiny_towers):
    path = clip / "tokenizer.json"
    document = json.loads(path.read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary |= {f"more{n}": len(vocabulary) + n for n in range(50)}
    path.write_text(json.dumps(document))
    assert "is of another model" in one_line(lambda: text(clip))


def test_another_tokenizer_is_another_tower(clip):
    before = text(clip).fingerprint
    path = clip / "tokenizer.json"
    document = json.loads(path.read_text())
    merges = document["model"]["merges"]
    merges[0], merges[-1] = merges[-1], merges[0]
    path.write_text(json.dumps(document))
    assert text(clip).fingerprint != before


# Pickles


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_runs_none(clip, tmp_path):
    (clip / "model.safetensors").unlink()
    weights = {"text_projection.weight": torch.zeros(2), "evil": Evil(tmp_path / "run")}
    torch.save(weights, clip / "pytorch_model.bin")
    assert "holds more than tensors" in one_line(lambda: text(clip))
    with (clip / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Evil(tmp_path / "run"), file)
    assert "cannot be read" in one_line(lambda: text(clip))
    assert not (tmp_path / "run").exists()


def test_damaged_weights_are_one_line(clip):
    file = clip / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5_000])
    line = one_line(lambda: vision(clip))
    assert str(file) in line
    assert "fetch them again" in line


def test_an_index_cannot_name_what_lies_elsewhere(clip):
    (clip / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (clip / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names no files beside it" in one_line(lambda: text(clip))
    (clip / "model.safetensors.index.json").write_text("[]")
    assert "is damaged" in one_line(lambda: text(clip))


def test_a_commit_that_is_gone_is_an_error_of_its_own(plain_hub, tmp_path, monkeypatch):
    with visiting(plain_hub, monkeypatch, tmp_path / "cache"), pytest.raises(NotCachedError):
        fetch_model(f"{NAME}@0000000000000000000000000000000000000000")
