"""Imported checkpoints against an independent model on the published names: plain tensor algebra."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from trichord.checkpoint import Run, fresh_model, located
from trichord.config import Cross, Experiment, GlobalToGlobal
from trichord.training.importing import CAPTIONER, PROBE, Recipe, import_clip, import_clip4vla
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

# Sizes at which no two of the inferred numbers are alike.
DIM, TEXT, VISION, PATCH, SIDE = 128, 256, 192, 16, 32
TEXT_LAYERS, VISION_LAYERS, CROSS_LAYERS = 2, 3, 2
TEXT_HEADS, VISION_HEADS = 4, 3
CROSS_HEADS = {"clip": 4, "bert": 2}
MERGES = ("t h", "th e</w>", "a n", "d o", "do g</w>", "b e", "l l</w>", "r i", "n g", "ng s</w>")
WORDS, FRAMES, SEGMENTS = 32, 12, 16
START, END = 512 + len(MERGES), 513 + len(MERGES)
PAD, VOCABULARY = END + 3, END + 4
TEXTS = ["the dog", "a bell rings, the dog barks and a bird answers", "hm"]
SHOWN, HEARD = [3, 12, 1, 0], [2, 0, 5, 4]


# The independent model


def draw(shapes, seed=0):
    """Weights at which every part of the model matters."""
    made = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=made)
        if name.endswith(".weight") and len(shape) == 1:  # of a norm
            state[name] = 1 + 0.3 * value
        else:
            state[name] = value * (0.3 if len(shape) < 2 else shape[-1] ** -0.5)
    return state


def clip_block(name, width):
    return {
        f"{name}.attn.in_proj_weight": (3 * width, width),
        f"{name}.attn.in_proj_bias": (3 * width,),
        f"{name}.attn.out_proj.weight": (width, width),
        f"{name}.attn.out_proj.bias": (width,),
        f"{name}.ln_1.weight": (width,),
        f"{name}.ln_1.bias": (width,),
        f"{name}.mlp.c_fc.weight": (4 * width, width),
        f"{name}.mlp.c_fc.bias": (4 * width,),
        f"{name}.mlp.c_proj.weight": (width, 4 * width),
        f"{name}.mlp.c_proj.bias": (width,),
        f"{name}.ln_2.weight": (width,),
        f"{name}.ln_2.bias": (width,),
    }


def bert_block(name, width):
    shapes = {}
    sizes = {
        "attention.self.query": (width, width),
        "attention.self.key": (width, width),
        "attention.self.value": (width, width),
        "attention.output.dense": (width, width),
        "attention.output.LayerNorm": (width,),
        "intermediate.dense": (6 * width, width),
        "output.dense": (width, 6 * width),
        "output.LayerNorm": (width,),
    }
    for part, shape in sizes.items():
        shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    return shapes


def tower(name, places):
    shapes = {
        f"{name}.class_embedding": (VISION,),
        f"{name}.positional_embedding": (places, VISION),
        f"{name}.proj": (VISION, DIM),
        f"{name}.conv1.weight": (VISION, 3, PATCH, PATCH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{name}.{norm}.weight": (VISION,), f"{name}.{norm}.bias": (VISION,)}
    for n in range(VISION_LAYERS):
        shapes |= clip_block(f"{name}.transformer.resblocks.{n}", VISION)
    return shapes


def clip_shapes(prefix=""):
    shapes = {
        "positional_embedding": (77, TEXT),
        "text_projection": (TEXT, DIM),
        "logit_scale": (),
        "token_embedding.weight": (VOCABULARY if prefix else VOCABULARY - 3, TEXT),
        "ln_final.weight": (TEXT,),
        "ln_final.bias": (TEXT,),
    } | tower("visual", 1 + (SIDE // PATCH) ** 2)
    for n in range(TEXT_LAYERS):
        shapes |= clip_block(f"transformer.resblocks.{n}", TEXT)
    return {prefix + name: shape for name, shape in shapes.items()}


def cross_shapes(form, below=""):
    start = f"cross.{below}"
    shapes = {f"{start}token_type_embeddings.weight": (3, DIM)}
    if form == "clip":
        shapes[f"{start}positional_embedding"] = (77, DIM)
        for n in range(CROSS_LAYERS):
            shapes |= clip_block(f"cross.transformer.resblocks.{n}", DIM)
        return shapes
    shapes |= {
        f"{start}position_embeddings.weight": (512, DIM),
        f"{start}LayerNorm.weight": (DIM,),
        f"{start}LayerNorm.bias": (DIM,),
        "cross.pooler.dense.weight": (DIM, DIM),
        "cross.pooler.dense.bias": (DIM,),
    }
    for n in range(CROSS_LAYERS):
        shapes |= bert_block(f"cross.encoder.layer.{n}", DIM)
    return shapes


def checkpoint(form="clip", *, tokens=True, below=None):
    """A state_dict as the authors write it; `form` None: pretrained, without cross transformer."""
    places = 1 + (SIDE // PATCH) ** 2 + tokens
    shapes = clip_shapes("clip.") | tower("audio.visual", places)
    if tokens:
        shapes["audio.visual.control_embedding"] = (2, VISION)
    if form:
        below = ("embeddings." if form == "bert" else "") if below is None else below
        shapes |= cross_shapes(form, below)
        shapes |= {"similarity_dense.weight": (1, DIM), "similarity_dense.bias": (1,)}
    return draw(shapes)


def norm(w, name, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(query, key, value, heads, added):
    """Head by head; `added` (batch or 1, query, key) goes onto the scores."""
    mixed = []
    parts = zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True)
    for q, k, v in parts:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + added
        mixed.append(scores.softmax(-1) @ v)
    return torch.cat(mixed, dim=-1)


def clip_blocks(w, name, x, heads, added):
    n = 0
    while f"{name}.{n}.ln_1.weight" in w:
        block = f"{name}.{n}"
        inner = norm(w, f"{block}.ln_1", x)
        packed = inner @ w[f"{block}.attn.in_proj_weight"].T + w[f"{block}.attn.in_proj_bias"]
        seen = attention(*packed.chunk(3, dim=-1), heads, added)
        x = x + linear(w, f"{block}.attn.out_proj", seen)
        wide = linear(w, f"{block}.mlp.c_fc", norm(w, f"{block}.ln_2", x))
        x = x + linear(w, f"{block}.mlp.c_proj", wide * torch.sigmoid(1.702 * wide))
        n += 1
    return x


def text_features(w, ids):
    """(batch, token) ids to projected features of every token."""
    count = ids.shape[1]
    x = w["clip.token_embedding.weight"][ids] + w["clip.positional_embedding"][:count]
    later = torch.full((1, count, count), float("-inf")).triu(1)
    x = clip_blocks(w, "clip.transformer.resblocks", x, TEXT_HEADS, later)
    return norm(w, "clip.ln_final", x) @ w["clip.text_projection"]


def picture_features(w, name, pictures, tokens=None):
    """(picture, 3, side, side) to features; sound tokens (picture, token, width) after the patches."""
    patches = F.conv2d(pictures, w[f"{name}.conv1.weight"], stride=PATCH)
    patches = patches.flatten(2).transpose(1, 2)
    first = w[f"{name}.class_embedding"].expand(len(patches), 1, -1)
    places = w[f"{name}.positional_embedding"]
    if tokens is None:
        x = torch.cat([first, patches], dim=1) + places
    else:  # two tokens share the last position
        x = torch.cat([first, patches, tokens], dim=1)
        x = x + torch.cat([places, places[-1:].repeat(tokens.shape[1] - 1, 1)])
    x = norm(w, f"{name}.ln_pre", x)
    x = clip_blocks(w, f"{name}.transformer.resblocks", x, VISION_HEADS, torch.zeros(1))
    return norm(w, f"{name}.ln_post", x[:, 0]) @ w[f"{name}.proj"]


def sound_features(w, pictures, token, kinds=None):
    table = w.get("audio.visual.control_embedding")
    if token == "none":
        tokens = None
    elif token == "both":
        tokens = table.expand(len(pictures), 2, -1)
    elif token == "clip":
        tokens = table[kinds][:, None]
    else:
        tokens = ((1 - token) * table[0] + token * table[1]).expand(len(pictures), 1, -1)
    return picture_features(w, "audio.visual", pictures, tokens)


def cross(w, parts):
    """Steps and masks of modalities, in order, to outputs of all steps and of the first one."""
    x = torch.cat([steps for steps, _, _ in parts], dim=1)
    mask = torch.cat([mask for _, mask, _ in parts], dim=1).float()
    kinds = torch.cat([torch.full((steps.shape[1],), kind) for steps, _, kind in parts])
    below = "cross.embeddings." if any(k.startswith("cross.embeddings.") for k in w) else "cross."
    added = (1 - mask)[:, None] * -1e6
    x = x + w[f"{below}token_type_embeddings.weight"][kinds]
    if "cross.pooler.dense.weight" not in w:
        x = x + w[f"{below}positional_embedding"][: x.shape[1]]
        x = clip_blocks(w, "cross.transformer.resblocks", x, CROSS_HEADS["clip"], added)
        return x, x[:, 0]
    x = norm(
        w, f"{below}LayerNorm", x + w[f"{below}position_embeddings.weight"][: x.shape[1]], 1e-12
    )
    for n in range(CROSS_LAYERS):
        block = f"cross.encoder.layer.{n}"
        packed = [linear(w, f"{block}.attention.self.{p}", x) for p in ("query", "key", "value")]
        seen = attention(*packed, CROSS_HEADS["bert"], added)
        seen = linear(w, f"{block}.attention.output.dense", seen)
        x = norm(w, f"{block}.attention.output.LayerNorm", x + seen, 1e-12)
        wide = linear(w, f"{block}.intermediate.dense", x)
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        x = norm(
            w, f"{block}.output.LayerNorm", x + linear(w, f"{block}.output.dense", wide), 1e-12
        )
    return x, torch.tanh(linear(w, "cross.pooler.dense", x[:, 0]))


def unit(x):
    return x / (x.norm(dim=-1, keepdim=True) + 1e-10)


def mean(x, mask):
    weight = mask.float().unsqueeze(-1)
    return unit((unit(x) * weight).sum(1) / (weight.sum(1) + 1e-10))


def scores(w, level, said, shown, heard):
    """The authors' logits (scale 100) of texts against clips; each side is (steps, mask), padded."""
    ends = said[0][torch.arange(len(said[0])), said[1].sum(1) - 1]
    asked = ends / ends.norm(dim=-1, keepdim=True)
    if level == "global_to_local":
        out, _ = cross(w, [(*shown, 1), (*heard, 2)])
        shown, heard = (out[:, :FRAMES], shown[1]), (out[:, FRAMES:], heard[1])
    if level.startswith("global"):
        return 100 * asked @ ((mean(*shown) + mean(*heard)) / 2).T
    rows = []
    for i in range(len(asked)):
        first = (asked[i][None, None], torch.ones(1, 1)) if level == "tight" else None
        steps, mask = first or (said[0][i : i + 1], said[1][i : i + 1].float())
        clips = len(shown[0])
        text = (steps.expand(clips, -1, -1), mask.expand(clips, -1), 0)
        _, whole = cross(w, [text, (*shown, 1), (*heard, 2)])
        rows.append(100 * linear(w, "similarity_dense", whole)[:, 0])
    return torch.stack(rows)


# What goes in


def padded(lengths, longest, shape=(3, SIDE, SIDE), seed=3):
    values = torch.randn(
        len(lengths), longest, *shape, generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return Padded(values, mask)


def token_ids(model):
    """Ids of the texts as the authors pad them, and their mask."""
    ids = model.text.prepare(TEXTS)
    ids = F.pad(ids, (0, WORDS - ids.shape[1]), value=PAD)
    return ids, ids != PAD


def towers_of(w, model, token=0.5):
    """Everything that the independent model makes of the towers' inputs, padded as published."""
    ids, real = token_ids(model)
    shown, heard = padded(SHOWN, FRAMES), padded(HEARD, SEGMENTS, seed=4)
    frames = picture_features(w, "clip.visual", shown.values.flatten(0, 1))
    segments = sound_features(w, heard.values.flatten(0, 1), token)
    return (
        (text_features(w, ids), real),
        (frames.unflatten(0, shown.mask.shape), shown.mask),
        (segments.unflatten(0, heard.mask.shape), heard.mask),
    )


def batch_for(model):
    ids = model.text.prepare(TEXTS)[:, None]
    text = Padded(ids, torch.ones(len(TEXTS), 1, dtype=torch.bool))
    audio, vision = padded(HEARD, SEGMENTS, seed=4), padded(SHOWN, FRAMES)
    return Batch(ids=("a", "b", "c", "d"), text=text, audio=audio, vision=vision)


def error(found, expected):
    """Relative to the size of what is expected."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Checkpoints of each form as `pytorch_model.bin`, and a byte-pair file for their vocabulary."""
    root = tmp_path_factory.mktemp("published")
    (root / "merges.txt").write_text("\n".join(["title", *MERGES, ""]))
    for name in ("clip", "bert", "pretrained"):
        torch.save(checkpoint(None if name == "pretrained" else name), root / f"{name}.bin")
    return root


@pytest.fixture
def take(place, tmp_path):
    """Import a checkpoint, by name or as a state_dict; gives the run."""

    def imported(state, name="run", **recipe):
        file = place / f"{state}.bin" if isinstance(state, str) else tmp_path / "model.bin"
        if not isinstance(state, str):
            torch.save(state, file)
        words = str(place / "merges.txt")
        return import_clip4vla(file, tmp_path / name, tokenizer=words, recipe=Recipe(**recipe))

    return imported


# The same numbers


@torch.no_grad()
def test_text_features_of_every_token_and_of_the_end_are_the_published_ones(take):
    w = checkpoint("clip")
    model = take("clip", fusion="local_to_local").load()
    ids, real = token_ids(model)
    expected = text_features(w, ids)
    found = model(batch_for(model)).text
    assert found.mask.tolist() == real[:, : found.mask.shape[1]].tolist()
    for i, count in enumerate(real.sum(1).tolist()):
        assert error(found.steps[i, :count], expected[i, :count]) < 1e-5
        assert ids[i, count - 1] == END
        assert error(found.pooled[i], F.normalize(expected[i, count - 1], dim=-1)) < 1e-5


@torch.no_grad()
def test_a_caption_of_one_step_is_the_feature_of_its_end(take):
    model = take("pretrained").load()
    ids, real = token_ids(model)
    features = text_features(checkpoint(None), ids)
    ends = features[torch.arange(len(ids)), real.sum(1) - 1]
    assert error(model(batch_for(model)).text.steps[:, 0], ends) < 1e-5


@torch.no_grad()
def test_frame_features_are_the_published_ones(take):
    model = take("pretrained").load()
    inputs = padded(SHOWN, FRAMES)
    expected = picture_features(checkpoint(None), "clip.visual", inputs.values[inputs.mask])
    found = model.vision(model.vision.read(inputs))
    assert error(found.steps[inputs.mask], expected) < 1e-5
    whole = picture_features(checkpoint(None), "clip.visual", inputs.values.flatten(0, 1))
    whole = mean(whole.unflatten(0, inputs.mask.shape), inputs.mask)
    assert error(found.pooled, whole) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("token", [0.0, 0.3, 0.5, 1.0, "both", "clip"])
def test_sound_features_are_the_published_ones_in_every_token_mode(take, token):
    model = take("pretrained", token=token).load()
    assert model.audio.token == token
    inputs, kinds = padded(HEARD, SEGMENTS), torch.tensor([0, 1, 1, 0])
    each = kinds[:, None].expand(inputs.mask.shape)[inputs.mask]
    expected = sound_features(checkpoint(None), inputs.values[inputs.mask], token, each)
    found = model.audio(model.audio.read(inputs, kinds.float()))
    assert error(found.steps[inputs.mask], expected) < 1e-5


@torch.no_grad()
def test_the_tokens_make_a_difference(take):
    model, inputs = take("pretrained").load(), padded([1], 1)
    found = []
    for token in (0.0, 0.5, 1.0, "both", "none"):
        model.choose_sound_token(token)
        found.append(model.audio(model.audio.read(inputs)).steps[0, 0])
    gaps = [error(a, b) for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 0.01


@torch.no_grad()
def test_a_tower_that_was_trained_without_tokens_listens_without(take):
    w = checkpoint(None, tokens=False)
    model = take(w).load()
    assert model.audio.token == "none"
    inputs = padded(HEARD, SEGMENTS)
    expected = sound_features(w, inputs.values[inputs.mask], "none")
    assert error(model.audio(model.audio.read(inputs)).steps[inputs.mask], expected) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("form", ["clip", "bert"])
def test_the_cross_transformer_is_the_published_one(take, form):
    w, model = checkpoint(form), take(form).load()
    made = torch.Generator().manual_seed(5)
    shown = (torch.randn(3, 4, DIM, generator=made), torch.tensor([[1, 1, 0, 0]] * 3) > 0)
    heard = (torch.randn(3, 5, DIM, generator=made), torch.tensor([[1, 1, 1, 1, 0]] * 3) > 0)
    expected, whole = cross(w, [(*shown, 1), (*heard, 2)])
    ours = model.fusion.cross
    mask = torch.cat([shown[1], heard[1]], dim=1)
    kinds = torch.tensor([1] * 4 + [2] * 5)
    found = ours(torch.cat([shown[0], heard[0]], dim=1), kinds, mask)
    assert error(found[mask], expected[mask]) < 1e-5
    assert error(ours.pool(found), whole) < 1e-5
    assert error(ours.similarity(ours.pool(found)), linear(w, "similarity_dense", whole)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("form", ["clip", "bert"])
@pytest.mark.parametrize(
    "level", ["global_to_global", "global_to_local", "tight", "local_to_local"]
)
def test_similarities_of_texts_and_clips_are_the_published_ones(take, form, level):
    w, run = checkpoint(form), take(form, fusion=level)
    model = run.load()
    expected = scores(w, level, *towers_of(w, model))
    scale = run.experiment().objective.build().scale("ct")
    found = scale * model(batch_for(model)).clips
    assert scale.item() == pytest.approx(100)
    assert found.shape == (len(TEXTS), len(SHOWN))
    assert error(found, expected) < 1e-4
    assert error(found.std(dim=1), expected.std(dim=1)) < 1e-4
    assert expected.std() > 0.1


@torch.no_grad()
def test_half_precision_weights_give_what_they_are_worth_in_single_precision(take):
    halved = {
        name: value.half() if value.ndim > 1 else value
        for name, value in checkpoint("clip").items()
    }
    whole = {name: value.float() for name, value in halved.items()}
    run = take(halved)
    model = run.load()
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    found = 100 * model(batch_for(model)).clips
    assert error(found, scores(whole, "global_to_local", *towers_of(whole, model))) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("form", "below"), [("clip", "embeddings."), ("bert", "")])
def test_embeddings_of_the_cross_transformer_may_be_spelled_either_way(take, form, below):
    w = checkpoint(form, below=below)
    model = take(w).load()
    expected = scores(w, "global_to_local", *towers_of(w, model))
    assert error(100 * model(batch_for(model)).clips, expected) < 1e-4


# The run


def test_a_run_says_how_the_authors_test_and_can_be_moved(take, tmp_path):
    run = take("clip", fusion="local_to_local", segments=6)
    model = Run(run.path).experiment().model
    assert (model.text.tokens, model.text.longest) == (True, 32)
    assert (model.vision.max_frames, model.vision.frames_per_second) == (12, 1.0)
    assert model.vision.pooling == model.audio.pooling == "mean_of_unit"
    assert (model.audio.token, model.audio.longest, model.audio.frames) == (0.5, 6, SIDE)
    assert (model.fusion.level, model.fusion.form, model.fusion.absent) == (
        "local_to_local",
        "clip",
        "zeros",
    )
    before = run.load().fingerprint
    moved = run.path.rename(tmp_path / "elsewhere")
    assert Run(moved).load().fingerprint == before
    assert str(tmp_path) not in (moved / "experiment.json").read_text()


def test_training_can_start_from_an_imported_run(take):
    run = take("bert")
    started = fresh_model(replace(run.experiment(), start=run.path, seed=7))
    assert started.fingerprint == run.load().fingerprint


def test_a_name_that_the_run_does_not_hold_stays_relative_to_the_command(take):
    run = take("pretrained")
    held = run.experiment().model
    other = replace(held, vision=replace(held.vision, name="./models/clip"))
    found = located(Experiment(system="x", model=other), run.path).model
    assert found.vision.name == "./models/clip"
    assert found.text.name == str(run.path / "clip")


def test_the_fusion_follows_from_the_checkpoint(take):
    assert take("clip", name="a").experiment().model.fusion.level == "global_to_local"
    assert take("bert", name="b").experiment().model.fusion.form == "bert"
    assert take("pretrained", name="c").experiment().model.fusion == GlobalToGlobal(absent="zeros")
    chosen = take("clip", name="d", fusion="tight", absent="masked").experiment().model.fusion
    assert isinstance(chosen, Cross)
    assert (chosen.level, chosen.absent) == ("tight", "masked")


def test_safetensors_and_pickle_give_the_same_run(take, place, tmp_path):
    save_file(checkpoint("clip"), tmp_path / "model.safetensors")
    words = str(place / "merges.txt")
    other = import_clip4vla(
        tmp_path / "model.safetensors", tmp_path / "other", tokenizer=words, recipe=Recipe()
    )
    assert other.load().fingerprint == take("clip").load().fingerprint


CAPTION_HEAD = {
    "cls.predictions.transform.dense.weight": (DIM, DIM),
    "cls.predictions.transform.dense.bias": (DIM,),
    "cls.predictions.transform.LayerNorm.weight": (DIM,),
    "cls.predictions.transform.LayerNorm.bias": (DIM,),
    "cls.predictions.decoder.weight": (VOCABULARY, DIM),
    "cls.predictions.bias": (VOCABULARY,),
}
PROBE_HEAD = {
    "cls_linear.0.weight": (DIM,),
    "cls_linear.0.bias": (DIM,),
    "cls_linear.1.weight": (50, DIM),
    "cls_linear.1.bias": (50,),
}


def test_heads_without_a_model_are_kept_under_their_published_names(take):
    captioner, probe = draw(CAPTION_HEAD, 1), draw(PROBE_HEAD, 2)
    run = take(checkpoint("clip") | captioner | probe)
    for file, expected in ((CAPTIONER, captioner), (PROBE, probe)):
        held = load_file(run.path / file)
        assert held.keys() == expected.keys()
        assert all(torch.equal(held[name], value) for name, value in expected.items())
    run.load()


def test_a_captioners_transformer_is_kept_with_its_head_and_fuses_nothing(take):
    state = checkpoint("clip") | draw(CAPTION_HEAD, 1)
    state = {k: v for k, v in state.items() if not k.startswith("similarity_dense.")}
    run = take(state)
    assert run.experiment().model.fusion.kind == "global_to_global"
    held = load_file(run.path / CAPTIONER)
    assert "cross.transformer.resblocks.1.ln_2.bias" in held
    assert len(held) == len(CAPTION_HEAD) + len(cross_shapes("clip"))
    with pytest.raises(UserError, match=r"--fusion tight: .* choose global_to_global"):
        take(state, "again", fusion="tight")


# Refusals


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
    refused(take, tmp_path, state, r"\d missing \(cross\.LayerNorm\.bias, .*\.\.\.\)")
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


def test_recipes_that_do_not_fit_are_refused(take, tmp_path):
    refused(take, tmp_path, "pretrained", "--fusion tight", fusion="tight")
    refused(take, tmp_path, "clip", "--segments 34: .* room for 33", segments=34)
    refused(take, tmp_path, "clip", "--segments 0", segments=0)
    refused(take, tmp_path, "clip", "--sound-token 3: .* 'both'", token=3.0)
    bare = checkpoint(None, tokens=False)
    refused(take, tmp_path, bare, "--sound-token: .* without sound tokens", token=0.5)


def test_what_lies_in_the_way_is_left_alone(take, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty: choose another directory"):
        take("clip")
    assert (tmp_path / "run" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    assert take("clip", "empty").complete


# CLIP alone


@torch.no_grad()
def test_an_openai_clip_becomes_a_run(place, tmp_path):
    state = draw(clip_shapes())
    sizes = {"input_resolution": SIDE, "context_length": 77, "vocab_size": VOCABULARY - 3}
    torch.save(state | {k: torch.tensor(v) for k, v in sizes.items()}, tmp_path / "clip.pt")
    words = str(place / "merges.txt")
    run = import_clip(str(tmp_path / "clip.pt"), tmp_path / "run", tokenizer=words)
    model = run.load()
    assert run.experiment().system == "clip"
    w = {f"clip.{name}": value for name, value in state.items()}
    ids = model.text.prepare(TEXTS)
    ends = (ids == END).int().argmax(dim=1)
    expected = text_features(w, ids)[torch.arange(len(ids)), ends]
    assert error(torch.from_numpy(model.embed_text(TEXTS)), F.normalize(expected, dim=-1)) < 1e-5
    inputs = padded([2, 3], 3)
    frames = picture_features(w, "clip.visual", inputs.values[inputs.mask])
    assert error(model.vision(model.vision.read(inputs)).steps[inputs.mask], frames) < 1e-5
    assert Run(run.path).load().fingerprint == model.fingerprint  # fresh tokens come from the seed


def test_a_folder_is_copied_and_nothing_else_of_it(tiny_towers, tmp_path):
    run = import_clip(str(tiny_towers / "clip"), tmp_path / "run")
    model = run.load()
    held = CLIPModel.from_pretrained(run.path / "clip").state_dict()
    given = CLIPModel.from_pretrained(tiny_towers / "clip").state_dict()
    assert all(torch.equal(held[name], value) for name, value in given.items())
    assert model.text.tokenizer("a bell")["input_ids"]
    assert model.embed_text(["a bell"]).shape == (1, 24)


def test_a_hub_name_stays_a_name(tmp_path):
    run = import_clip("stand-in-clip", tmp_path / "run")
    assert run.experiment().model.text.name == "stand-in-clip"
    assert not (run.path / "clip").exists()
    assert run.load().dim == 128


def test_a_source_that_is_nothing_is_refused_in_one_line(tmp_path):
    for source in ("nobody/nothing", str(tmp_path / "nothing.pt"), str(tmp_path)):
        with pytest.raises(UserError, match="could not be loaded") as told:
            import_clip(source, tmp_path / "run")
        assert "\n" not in str(told.value)


def test_a_full_disk_leaves_nothing_behind(take, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trichord.encoders.published_clip.write_atomically", full)
    refused(take, tmp_path, "pretrained", r"refused: cannot be written: No space left")
