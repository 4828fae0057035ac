import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from trichord.models.cross import CrossTransformer

DIM, HEADS, LAYERS, INNER = 16, 4, 3, 40
TYPES = torch.tensor([0, 0, 1, 1, 1, 2, 2])


def cross(form, seed=0, **changes):
    """A transformer whose weights are large enough for every part of it to matter."""
    sizes = {"dim": DIM, "heads": HEADS, "layers": LAYERS, "inner": INNER, "positions": 20}
    torch.manual_seed(seed)
    model = CrossTransformer(form=form, **sizes | changes).eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.3)
    return model


def rows(batch=4, seed=1):
    """Sequences, and masks with gaps, among them a full one."""
    torch.manual_seed(seed)
    mask = torch.rand(batch, len(TYPES)) > 0.4
    mask[0] = True
    mask[:, 0] = True
    return torch.randn(batch, len(TYPES), DIM), mask


def encoder_layer(block, **options):
    """Torch's own layer with a block's weights."""
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, INNER, dropout=0.0, batch_first=True, **options
    ).eval()
    ours = {
        "self_attn.in_proj_weight": block.attention.entry.weight,
        "self_attn.in_proj_bias": block.attention.entry.bias,
        "self_attn.out_proj": block.attention.exit,
        "linear1": block.expand,
        "linear2": block.contract,
        "norm1": block.attention_norm,
        "norm2": block.inner_norm,
    }
    state = {}
    for name, value in ours.items():
        if isinstance(value, nn.Module):
            state |= {f"{name}.{part}": tensor for part, tensor in value.state_dict().items()}
        else:
            state[name] = value
    layer.load_state_dict(state)
    return layer


@torch.no_grad()
def test_the_clip_form_is_torchs_layers_with_the_norm_first():
    model = cross("clip")
    sequence, mask = rows()
    expected = sequence + model.positions.weight[: len(TYPES)] + model.types.weight[TYPES]
    for block in model.blocks:
        layer = encoder_layer(
            block, norm_first=True, activation=lambda x: x * torch.sigmoid(1.702 * x)
        )
        expected = layer(expected, src_key_padding_mask=~mask)
    found = model(sequence, TYPES, mask)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.pool(found), found[:, 0])


@torch.no_grad()
def test_the_bert_form_is_torchs_layers_with_the_norm_last():
    model = cross("bert")
    sequence, mask = rows()
    embedded = sequence + model.positions.weight[: len(TYPES)] + model.types.weight[TYPES]
    expected = F.layer_norm(embedded, (DIM,), model.norm.weight, model.norm.bias, 1e-12)
    for block in model.blocks:
        layer = encoder_layer(block, norm_first=False, activation=F.gelu, layer_norm_eps=1e-12)
        expected = layer(expected, src_key_padding_mask=~mask)
    found = model(sequence, TYPES, mask)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_bert_form_is_a_bert_by_the_names_it_documents():
    model = cross("bert")
    config = BertConfig(
        vocab_size=2,
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=20,
        type_vocab_size=3,
    )
    bert = BertModel(config).eval()
    theirs = bert.state_dict()
    ours = model.state_dict()
    names = {
        "embeddings.position_embeddings.weight": "positions.weight",
        "embeddings.token_type_embeddings.weight": "types.weight",
    }
    for kind in ("weight", "bias"):
        names[f"embeddings.LayerNorm.{kind}"] = f"norm.{kind}"
        names[f"pooler.dense.{kind}"] = f"pooler.0.{kind}"
        for n in range(LAYERS):
            there, here = f"encoder.layer.{n}", f"blocks.{n}"
            entry = ours[f"{here}.attention.entry.{kind}"].split(DIM)
            for name, part in zip(("query", "key", "value"), entry, strict=True):
                theirs[f"{there}.attention.self.{name}.{kind}"] = part
            names |= {
                f"{there}.attention.output.dense.{kind}": f"{here}.attention.exit.{kind}",
                f"{there}.attention.output.LayerNorm.{kind}": f"{here}.attention_norm.{kind}",
                f"{there}.intermediate.dense.{kind}": f"{here}.expand.{kind}",
                f"{there}.output.dense.{kind}": f"{here}.contract.{kind}",
                f"{there}.output.LayerNorm.{kind}": f"{here}.inner_norm.{kind}",
            }
    bert.load_state_dict(theirs | {there: ours[here] for there, here in names.items()})
    sequence, mask = rows()
    expected = bert(
        inputs_embeds=sequence,
        token_type_ids=TYPES.expand(len(sequence), -1),
        attention_mask=mask.long(),
    )
    found = model(sequence, TYPES, mask)
    torch.testing.assert_close(found[mask], expected.last_hidden_state[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.pool(found), expected.pooler_output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("form", "count"),
    [
        # By hand, clip: positions 77·512, types 3·512; a block: queries, keys, values 512·1536+1536,
        # output 512·512+512, two norms 4·512, 512·2048+2048 and 2048·512+512: 3,152,384, four of them.
        ("clip", 39_424 + 1_536 + 4 * 3_152_384),
        ("bert", 17_335_296),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(form, count):
    with torch.device("meta"):
        model = CrossTransformer(form=form, dim=512)
    assert sum(value.numel() for value in model.parameters()) == count + 513
    assert sum(value.numel() for value in model.similarity.parameters()) == 513


@pytest.mark.parametrize("form", ["clip", "bert"])
def test_fresh_weights_are_small_and_normal(form):
    torch.manual_seed(0)
    model = CrossTransformer(form=form, dim=64)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        elif "norm" in name:
            assert (value == 1).all()
        else:
            # Four standard errors of an estimate from so many numbers.
            assert value.std().item() == pytest.approx(0.02, rel=4 / math.sqrt(2 * value.numel()))


def clip_tower(layers=LAYERS, kind=CLIPTextModel, positions=20, **changes):
    sizes = {
        "vocab_size": 9,
        "hidden_size": DIM,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "max_position_embeddings": positions,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "projection_dim": DIM,
    }
    torch.manual_seed(3)
    tower = kind(CLIPTextConfig(**sizes | changes)).eval()
    for value in tower.parameters():
        nn.init.normal_(value, std=0.3)
    return tower


@torch.no_grad()
def test_a_clip_text_tower_lends_its_first_blocks_and_its_positions():
    tower, model = clip_tower(layers=LAYERS + 1), cross("clip")
    model.start_from(tower)
    model.types.weight.zero_()
    sequence, _ = rows()
    expected = sequence + tower.embeddings.position_embedding.weight[: len(TYPES)]
    for layer in tower.encoder.layers[:LAYERS]:
        expected = layer(expected, None)
    found = model(sequence, TYPES, torch.ones(sequence.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", [11, 30])
def test_positions_are_lent_as_far_as_both_tables_reach(positions):
    model = cross("clip")
    own = model.positions.weight.detach().clone()
    tower = clip_tower(kind=CLIPTextModelWithProjection, positions=positions)
    model.start_from(tower)
    lent = tower.text_model.embeddings.position_embedding.weight
    shared = min(positions, 20)
    assert torch.equal(model.positions.weight[:shared], lent[:shared])
    assert torch.equal(model.positions.weight[shared:], own[shared:])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layers": LAYERS - 1}, "2 layers"),
        ({"num_attention_heads": 2}, "'heads': 2"),
        ({"intermediate_size": 24}, "'inner': 24"),
    ],
)
def test_a_tower_of_other_sizes_lends_nothing(changes, complaint):
    model = cross("clip")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=complaint):
        model.start_from(clip_tower(**changes))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_bert_form_starts_from_no_tower():
    with pytest.raises(ValueError, match="Only the clip form"):
        cross("bert").start_from(clip_tower())


@pytest.mark.parametrize("form", ["clip", "bert"])
@torch.no_grad()
def test_what_padding_holds_is_never_read(form):
    model = cross(form)
    sequence, mask = rows()
    found = model(sequence, TYPES, mask)
    padded = model(sequence.masked_fill(~mask.unsqueeze(-1), float("nan")), TYPES, mask)
    assert torch.equal(found[mask], padded[mask])
    alone = model(sequence[:1, :3], TYPES[:3], torch.ones(1, 3, dtype=torch.bool))
    mask[0, 3:] = False
    torch.testing.assert_close(model(sequence, TYPES, mask)[:1, :3], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["clip", "bert"])
def test_a_row_without_a_real_step_is_finite_and_so_are_its_gradients(form, monkeypatch):
    model = cross(form)
    sequence, mask = rows()
    mask[1] = False
    attention = F.scaled_dot_product_attention

    def refuse_nothing(*tensors, attn_mask, **options):  # some back ends would answer NaN
        assert attn_mask.any(dim=-1).all()
        return attention(*tensors, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse_nothing)
    found = model(sequence.requires_grad_(), TYPES, mask)
    assert found.isfinite().all()
    found.sum().backward()
    assert sequence.grad.isfinite().all()
    assert not sequence.grad[1].any()


@torch.no_grad()
def test_positions_are_counted_from_0_unless_given():
    model = cross("clip")
    sequence, mask = rows()
    counted = torch.arange(len(TYPES))
    assert torch.equal(model(sequence, TYPES, mask), model(sequence, TYPES, mask, counted))
    moved = model(sequence, TYPES, mask, counted + 9)
    model.positions.weight[: len(TYPES)] = model.positions.weight[9 : 9 + len(TYPES)].clone()
    assert torch.equal(model(sequence, TYPES, mask), moved)


def test_more_steps_than_positions_are_refused():
    model = cross("clip", positions=6)
    with pytest.raises(ValueError, match=r"7 steps is longer than the 6 positions.*'positions'"):
        model(*rows()[:1], TYPES, rows()[1])


def test_heads_must_divide_the_dimensions():
    with pytest.raises(ValueError, match="5 heads do not divide 16"):
        CrossTransformer(form="clip", dim=16, heads=5)


@pytest.mark.parametrize(("form", "random"), [("clip", False), ("bert", True)])
@torch.no_grad()
def test_only_the_bert_form_drops_anything_behind_its_input(form, random):
    model = cross(form, dropout=0.5)
    sequence, mask = rows()
    still = model(sequence, TYPES, mask)
    model.train()
    assert not torch.equal(model(sequence, TYPES, mask), still)
    model.dropout = nn.Identity()
    assert torch.equal(model(sequence, TYPES, mask), still) is not random
    for block in model.blocks:  # what is left is attention's
        block.dropout = nn.Identity()
    assert torch.equal(model(sequence, TYPES, mask), still) is not random


def unilm(mask, causal_steps):
    """Which step may see which: text the text up to itself and all media, media only media (eq. 6)."""
    steps = len(mask)
    sees = torch.zeros(steps, steps, dtype=torch.bool)
    for one in range(steps):
        for other in range(steps):
            if other >= causal_steps:
                sees[one, other] = mask[other]
            elif one < causal_steps:
                sees[one, other] = mask[other] and other <= one
    return sees


@pytest.mark.parametrize("form", ["clip", "bert"])
@torch.no_grad()
def test_a_text_that_is_written_sees_what_is_before_it_and_media_and_is_not_seen_by_them(form):
    model = cross(form)
    sequence, mask = rows()
    mask[:, -1] = True
    found = model(sequence, TYPES, mask, causal_steps=2)
    options = {"norm_first": True, "activation": lambda x: x * torch.sigmoid(1.702 * x)}
    if form == "bert":
        options = {"norm_first": False, "activation": F.gelu, "layer_norm_eps": 1e-12}
    for row, real in enumerate(mask):
        start = sequence[row] + model.positions.weight[: len(TYPES)] + model.types.weight[TYPES]
        expected = start if form == "clip" else model.norm(start)
        # A padded step may see anything: nothing sees it.
        hidden = ~(unilm(real, 2) | ~real[:, None])
        for block in model.blocks:
            expected = encoder_layer(block, **options)(expected[None], src_mask=hidden)[0]
        torch.testing.assert_close(found[row, real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["clip", "bert"])
@torch.no_grad()
def test_a_written_text_without_anything_else_is_finite(form):
    model = cross(form)
    sequence, mask = rows()
    mask[:, 2:] = False
    mask[1] = False
    found = model(sequence, TYPES, mask, causal_steps=2)
    assert found.isfinite().all()
    first = model(sequence[:1, :1], TYPES[:1], mask[:1, :1])
    torch.testing.assert_close(found[:1, :1], first, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["clip", "bert"])
@pytest.mark.parametrize("portions", [[1, 1], [2]])
@torch.no_grad()
def test_what_is_kept_need_not_be_computed_again(form, portions):
    model = cross(form)
    sequence, mask = rows()
    mask[2, 2:] = False  # this one has no media at all
    expected = model(sequence, TYPES, mask, causal_steps=2)
    places = torch.arange(len(TYPES))
    cache = model.new_cache()
    media = model(sequence[:, 2:], TYPES[2:], mask[:, 2:], places[2:], cache=cache)
    torch.testing.assert_close(
        media[mask[:, 2:]], expected[:, 2:][mask[:, 2:]], atol=1e-5, rtol=1e-5
    )
    found, begun = [], 0
    for size in portions:
        part = slice(begun, begun + size)
        step = model(
            sequence[:, part],
            TYPES[part],
            mask[:, part],
            places[part],
            causal_steps=size,
            cache=cache,
        )
        found.append(step)
        begun += size
    text = mask[:, :2]
    torch.testing.assert_close(
        torch.cat(found, dim=1)[text], expected[:, :2][text], atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_rows_that_are_kept_can_be_taken_in_any_order_and_go_their_own_ways():
    model = cross("clip")
    sequence, mask = rows()
    chosen = torch.tensor([3, 0, 3])
    cache = model.new_cache()
    places = torch.arange(len(TYPES))
    model(sequence[:, :5], TYPES[:5], mask[:, :5], places[:5], cache=cache)
    taken = cache.rows(chosen)
    last = torch.randn(3, 2, DIM)
    real = torch.ones(3, 2, dtype=torch.bool)
    found = model(last, TYPES[5:], real, places[5:], cache=taken)
    # In the reference, too, what came first does not see what came later.
    expected = torch.empty_like(found)
    for row, source in enumerate(chosen.tolist()):
        first = model.new_cache()
        model(sequence[[source], :5], TYPES[:5], mask[[source], :5], places[:5], cache=first)
        expected[[row]] = model(last[[row]], TYPES[5:], real[[row]], places[5:], cache=first)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert cache.mask.shape == (4, 5)
    assert taken.mask.shape == (3, 7)
