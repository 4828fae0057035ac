"""What cannot be imported is refused in one line, and nothing is left behind."""

import pytest
import torch
from published_model import DIM, PATCH, TEXT, VISION, captioning, checkpoint, classifying

from trichord.training.importing import import_clip
from trichord.types import UserError


def refused(take, tmp_path, state, match, **recipe):
    with pytest.raises(UserError, match=match) as told:
        take(state, "refused", **recipe)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "refused").exists()
    assert not list(tmp_path.glob(".*"))


def test_unknown_keys_are_named_and_counted(take, tmp_path):
    state = checkpoint("clip")
    extra = {f"decoder.layer.{n}.weight": torch.zeros(1) for n in range(5)}
    refused(take, tmp_path, state | extra, r"5 unknown \(decoder\.layer\.0\.weight, .*\.\.\.\)")
    for name in ("clip.visual.conv2.weight", "audio.visual.bg_embedding", "cross.extra", "audio.x"):
        other = state | {name: torch.zeros(1)}
        refused(take, tmp_path, other, rf"1 unknown \({name}\)".replace(".", r"\."))


@pytest.mark.parametrize(
    "name",
    [
        "clip.logit_scale",
        "clip.visual.transformer.resblocks.1.attn.in_proj_bias",
        "audio.visual.proj",
        "audio.visual.transformer.resblocks.2.mlp.c_fc.weight",
        "cross.token_type_embeddings.weight",
        "cross.transformer.resblocks.0.attn.out_proj.bias",
        "similarity_dense.bias",
    ],
)
def test_missing_keys_are_named(take, tmp_path, name):
    state = checkpoint("clip")
    del state[name]
    refused(take, tmp_path, state, rf"1 missing \({name}\)")


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_missing_keys_of_the_older_form_are_named(take, tmp_path, kind):
    state = checkpoint("bert")
    name = f"cross.encoder.layer.1.attention.self.key.{kind}"
    del state[name]
    refused(take, tmp_path, state, rf"1 missing \({name}\)")


def test_whole_parts_that_are_missing_are_counted(take, tmp_path):
    state = {k: v for k, v in checkpoint("clip").items() if not k.startswith("audio.")}
    refused(take, tmp_path, state, r"lacks 'audio\.visual\.positional_embedding'")
    state = {k: v for k, v in checkpoint("clip").items() if not k.startswith("cross.")}
    refused(take, tmp_path, state, r"14 missing \(cross\.positional_embedding, .*\.\.\.\)")
    half = checkpoint("clip") | {"cls_linear.0.weight": torch.zeros(DIM)}
    refused(take, tmp_path, half, r"3 missing \(cls_linear\.0\.bias")


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("clip.visual.proj", (VISION, DIM + 64), "is 192 x 192 instead of 192 x 128"),
        ("audio.visual.positional_embedding", (9, VISION), "is 9 x 192 instead of 6 x 192"),
        ("clip.logit_scale", (1,), "is 1 instead of a number"),
        ("cross.positional_embedding", (60, DIM), "is 60 x 128 instead of 77 x 128"),
        ("clip.text_projection", (TEXT,), "has 1 dimensions instead of 2"),
        (
            "clip.visual.conv1.weight",
            (100, 3, PATCH, PATCH),
            "100 dimensions are no multiple of 64",
        ),
        ("clip.token_embedding.weight", (300, TEXT), "tokens, the model 300"),
    ],
)
def test_tensors_of_other_shapes_are_named(take, tmp_path, name, shape, match):
    state = checkpoint("clip") | {name: torch.zeros(shape)}
    refused(take, tmp_path, state, match)


def test_captioners_and_heads_that_are_not_whole_are_refused(take, tmp_path):
    state = captioning()
    for name in ("transform.dense.bias", "bias"):
        other = {k: v for k, v in state.items() if k != f"cls.predictions.{name}"}
        refused(take, tmp_path, other, rf"1 missing \(cls\.predictions\.{name}\)")
    name = "cls.predictions.decoder.weight"
    refused(take, tmp_path, state | {name: state[name] + 1e-3}, "is not the text tower's table")
    refused(take, tmp_path, state | {name: state[name][:5]}, "is not the text tower's table")
    del state[name]
    refused(take, tmp_path, state, "lacks 'cls.predictions.decoder.weight'")
    state = {k: v for k, v in captioning().items() if not k.startswith("cross.")}
    refused(take, tmp_path, state, r"14 missing \(cross\.positional_embedding, ")
    state = classifying() | {"cls_linear.2.weight": torch.zeros(1)}
    refused(take, tmp_path, state, r"1 unknown \(cls_linear\.2\.weight\)")
    state = classifying() | {"cls_linear.1.weight": torch.zeros(50, DIM + 1)}
    refused(take, tmp_path, state, "is 50 x 129 instead of 50 x 128")


def test_recipes_that_do_not_fit_are_refused(take, tmp_path):
    refused(take, tmp_path, "pretrained", "--fusion tight", fusion="tight")
    refused(take, tmp_path, "clip", "--segments 34: .* room for 33", segments=34)
    refused(take, tmp_path, "clip", "--segments 0", segments=0)
    refused(take, tmp_path, "clip", "--audio-type 3: .* 'both'", token=3.0)
    refused(take, tmp_path, "clip", "--words 2: give from 3 to 77", words=2)
    refused(take, tmp_path, "clip", "--words 78: give from 3 to 77", words=78)
    refused(take, tmp_path, "clip", "--words 70: .* has room for 64", words=70)
    state = captioning()
    refused(take, tmp_path, state, "--words 66: .* has room for 65", words=66, reads=("vision",))
    refused(take, tmp_path, captioning(), "--segments 18: .* room for 17", words=48, segments=18)
    refused(take, tmp_path, "clip", "--reads: .* has no captioner", reads=("vision",))
    refused(take, tmp_path, captioning(), "--reads: give vision, audio", reads=())
    bare = checkpoint(None, tokens=False)
    refused(take, tmp_path, bare, "--audio-type: .* without audio type tokens", token=0.5)


def test_what_lies_in_the_way_is_left_alone(take, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty: choose another directory"):
        take("clip")
    assert (tmp_path / "run" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    assert take("clip", "empty").complete


def test_a_source_that_is_nothing_is_refused_in_one_line(tmp_path):
    refusals = {
        "nobody/nothing": "cannot be fetched",
        str(tmp_path / "nothing.pt"): "neither a folder here nor|cannot be fetched",
        str(tmp_path): "has no Config that can be read",
    }
    for source, refusal in refusals.items():
        with pytest.raises(UserError, match=refusal) as told:
            import_clip(source, tmp_path / "run")
        assert "\n" not in str(told.value)


def test_a_full_disk_leaves_nothing_behind(take, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trichord.encoders.published_clip.write_atomically", full)
    refused(take, tmp_path, "pretrained", r"refused: cannot be written: No space left")
