from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from trichord.config import CaptionGenerator
from trichord.models.captioner import Captioner
from trichord.models.cross import CrossTransformer
from trichord.models.sequence import attend
from trichord.types.tensors import Batch, Features, Padded

DIM, WIDTH, INNER, HEADS, LAYERS = 16, 12, 24, 4, 2
VOCABULARY, START, END = 11, 0, 1
TEXT_SLOTS, FRAME_SLOTS, POSITIONS = 6, 5, 24
LENGTHS, FRAMES, SEGMENTS = [4, 3, 6, 5], [5, 3, 0, 0], [2, 0, 4, 0]
NEITHER = 3  # the last clip has no sight and no sound


def captioner(seed=0, **options):
    """A generator whose weights are large enough for every part of it to matter."""
    torch.manual_seed(seed)
    cross = CrossTransformer(
        form="clip", dim=DIM, layers=LAYERS, heads=HEADS, inner=INNER, positions=POSITIONS
    )
    slots = {"text_slots": TEXT_SLOTS, "frame_slots": FRAME_SLOTS}
    model = Captioner(cross, width=WIDTH, vocabulary=VOCABULARY, **slots | options).eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.3)
    return model


def features(lengths, seed, filler=float("nan")):
    torch.manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    steps = torch.randn(*mask.shape, DIM).masked_fill(~mask.unsqueeze(-1), filler)
    return Features(torch.randn(len(lengths), DIM), steps, mask)


def batch():
    """Features of captions, their words, frames, segments, and a table of tokens."""
    text = features(LENGTHS, 1)
    ids = torch.randint(2, VOCABULARY, text.mask.shape)
    ids[:, 0] = START
    ids[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1] = END
    words = Padded(ids.masked_fill(~text.mask, 7), text.mask)
    return text, words, features(FRAMES, 2), features(SEGMENTS, 3), torch.randn(VOCABULARY, WIDTH)


def slow(model, steps, places, frames, segments, table):
    """Scores of all tokens at so many places of one caption, from torch's own layers.

    Args:
        steps: Of all tokens but the last.
        places: At least as many; those without a token are seen by none.
    """
    text = torch.cat([steps, torch.zeros(places - len(steps), DIM)])
    sequence = torch.cat([text, frames, segments])
    types = [0] * places + [1] * len(frames) + [2] * len(segments)
    behind = TEXT_SLOTS + FRAME_SLOTS
    positions = [
        *range(places),
        *range(TEXT_SLOTS, TEXT_SLOTS + len(frames)),
        *range(behind, behind + len(segments)),
    ]
    cross = model.cross
    hidden = sequence + cross.positions.weight[positions] + cross.types.weight[types]
    sees = torch.zeros(len(sequence), len(sequence), dtype=torch.bool)
    sees[:, places:] = True
    for place in range(places):
        sees[place, : min(place + 1, len(steps))] = True
    for block in cross.blocks:
        layer = nn.TransformerEncoderLayer(
            DIM,
            HEADS,
            INNER,
            dropout=0.0,
            batch_first=True,
            norm_first=True,
            activation=lambda x: x * torch.sigmoid(1.702 * x),
        ).eval()
        state = {
            "self_attn.in_proj_weight": block.attention.entry.weight,
            "self_attn.in_proj_bias": block.attention.entry.bias,
        }
        parts = {
            "self_attn.out_proj": block.attention.exit,
            "linear1": block.expand,
            "linear2": block.contract,
            "norm1": block.attention_norm,
            "norm2": block.inner_norm,
        }
        for name, part in parts.items():
            state |= {f"{name}.{kind}": value for kind, value in part.state_dict().items()}
        layer.load_state_dict(state)
        hidden = layer(hidden[None], src_mask=~sees)[0]
    turned = hidden[:places] @ model.turn.weight.T + model.turn.bias
    turned = turned * torch.sigmoid(1.702 * turned)
    turned = F.layer_norm(turned, (WIDTH,), model.turn_norm.weight, model.turn_norm.bias, 1e-12)
    return torch.stack([turned @ row for row in table], dim=1) + model.bias


def real(features, row):
    return features.steps[row, features.mask[row]]


@pytest.mark.parametrize("padding", ["ignored", "as_published"])
@torch.no_grad()
def test_teacher_forcing_is_each_caption_alone_through_torchs_layers(padding):
    model = captioner(padding=padding)
    text, words, vision, audio, table = batch()
    found = model(text, words, vision, audio, table)
    logits, targets, rows = [], [], []
    for row in range(NEITHER):
        steps = real(text, row)[:-1]
        places = TEXT_SLOTS if padding == "as_published" else len(steps)
        logits.append(slow(model, steps, places, real(vision, row), real(audio, row), table))
        caption = words.values[row, 1 : LENGTHS[row]].tolist()
        targets += caption + [END] * (places - len(caption))
        rows += [row] * places
    torch.testing.assert_close(found.logits, torch.cat(logits), atol=1e-5, rtol=1e-5)
    assert found.targets.tolist() == targets
    assert found.rows.tolist() == rows


@torch.no_grad()
def test_padding_counts_only_as_published():
    text, words, vision, audio, table = batch()
    ignored = captioner()(text, words, vision, audio, table)
    # By hand: all tokens but the start, of the three clips that have something to tell of.
    assert len(ignored.targets) == 3 + 2 + 5
    assert (ignored.targets == END).sum() == 3
    published = captioner(padding="as_published")(text, words, vision, audio, table)
    assert len(published.targets) == 3 * TEXT_SLOTS
    # Behind 2, 1 and 4 words there are 4, 5 and 2 places, and the end is expected in each.
    assert (published.targets == END).sum() == 4 + 5 + 2


def logits_of(model, parts):
    """Scores of clips by place, of clips that have something to tell of."""
    found = model(*parts)
    return [found.logits[found.rows == row] for row in range(len(LENGTHS))]


@torch.no_grad()
def test_a_word_changes_only_what_follows_it():
    model = captioner()
    text, *others = batch()
    before = logits_of(model, (text, *others))
    changed = replace(text, steps=text.steps.clone())
    changed.steps[2, 3] += 1.0
    after = logits_of(model, (changed, *others))
    assert torch.equal(before[2][:3], after[2][:3])
    assert (before[2][3:] != after[2][3:]).any(dim=1).all()
    assert torch.equal(before[0], after[0])


@torch.no_grad()
def test_a_word_changes_nothing_that_is_seen_or_heard():
    model = captioner()
    text, words, vision, audio, _ = batch()
    shown = model.layout.media_segments(vision, audio)
    hidden = []
    for steps in (text.steps, text.steps + 1.0):
        segment = model.layout.text_segment(steps[:, :-1], words.mask[:, 1:])
        places = segment.mask.shape[1]
        hidden.append(attend(model.cross, [segment, *shown], causal_steps=places)[:, places:])
    there = torch.cat([segment.mask for segment in shown], dim=1)
    assert torch.equal(hidden[0][there], hidden[1][there])


@pytest.mark.parametrize("index", [2, 3])
@torch.no_grad()
def test_a_frame_or_a_segment_changes_all_words_of_its_clip_and_no_others(index):
    model = captioner()
    parts = list(batch())
    before = logits_of(model, parts)
    parts[index] = replace(parts[index], steps=parts[index].steps.clone())
    parts[index].steps[0, 1] += 1.0
    after = logits_of(model, parts)
    assert (before[0] != after[0]).any(dim=1).all()
    for row in (1, 2):
        assert torch.equal(before[row], after[row])


@torch.no_grad()
def test_what_a_clip_lacks_is_never_read():
    model = captioner()
    text, words, vision, audio, table = batch()
    expected = model(text, words, vision, audio, table)
    seen, heard = (replace(one, steps=one.steps.nan_to_num(1e4)) for one in (vision, audio))
    found = model(text, words, seen, heard, table)
    assert torch.equal(found.logits, expected.logits)
    assert NEITHER not in found.rows
    silent = model(text, words, vision, None, table)
    assert sorted(set(silent.rows.tolist())) == [0, 1]
    torch.testing.assert_close(
        silent.logits[silent.rows == 1], expected.logits[expected.rows == 1], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("reads", "rows"), [("vision", [0, 1]), ("audio", [0, 2])])
@torch.no_grad()
def test_a_captioner_of_one_modality_does_not_look_at_the_other(reads, rows):
    model = captioner(reads=(reads,))
    text, words, vision, audio, table = batch()
    both = model(text, words, vision, audio, table)
    given = {"vision": vision, "audio": audio}
    alone = dict.fromkeys(given) | {reads: given[reads]}
    one = model(text, words, alone["vision"], alone["audio"], table)
    assert torch.equal(both.logits, one.logits)
    assert sorted(set(both.rows.tolist())) == rows
    other = dict.fromkeys(given) | {name: one for name, one in given.items() if name != reads}
    assert len(model(text, words, other["vision"], other["audio"], table).rows) == 0


@torch.no_grad()
def test_word_by_word_is_all_at_once():
    model = captioner()
    text, words, vision, audio, table = batch()
    cache = model.encode_media(vision, audio)
    steps = text.steps.nan_to_num(0.0)
    by_place = [
        model.next_logits(steps[:, place], place, cache, table) for place in range(max(LENGTHS) - 1)
    ]
    found = torch.stack(by_place, dim=1)
    for row, expected in enumerate(logits_of(model, (text, words, vision, audio, table))[:NEITHER]):
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_words_are_scored_by_the_table_of_the_text_tower_and_a_bias():
    model = captioner()
    *parts, table = batch()
    before = model(*parts, table).logits
    shifted = table.clone()
    shifted[4] *= 2.0
    after = model(*parts, shifted).logits
    others = [token for token in range(VOCABULARY) if token != 4]
    assert torch.equal(before[:, others], after[:, others])
    bias = model.bias[4]
    torch.testing.assert_close(after[:, 4] - bias, 2 * (before[:, 4] - bias), atol=1e-5, rtol=1e-5)
    assert all(VOCABULARY not in value.shape for value in model.parameters() if value.ndim > 1)


def test_more_words_or_frames_than_there_is_room_for_are_refused():
    text, words, vision, audio, table = batch()
    with pytest.raises(ValueError, match=r"text tokens.*raise text_slots"):
        captioner(text_slots=4)(text, words, vision, audio, table)
    with pytest.raises(ValueError, match=r"frames.*raise frame_slots"):
        captioner(frame_slots=4).encode_media(vision, audio)


def test_the_loss_reaches_the_generator_and_no_frozen_tower(tiny_trimodal):
    text = replace(tiny_trimodal.text, tokens=True, longest=12)
    generator = CaptionGenerator(from_text=False, layers=2, text_slots=12)
    model = replace(tiny_trimodal, text=text, captioner=generator).build()
    captions = ["a low bell rings", "a red ball"]
    inputs = Batch(
        ids=("1", "2"),
        text=Padded.stack(list(model.text.prepare(captions)[:, None])),
        words=Padded.stack(model.token_ids(captions)),
        vision=Padded(torch.randn(2, 3, 3, 32, 32), torch.ones(2, 3, dtype=torch.bool)),
    )
    words = model(inputs).words
    F.cross_entropy(words.logits, words.targets).backward()
    reached = {name for name, value in model.named_parameters() if value.grad is not None}
    trains = {name for name, value in model.captioner.named_parameters() if value.requires_grad}
    assert {name for name in trains if f"captioner.{name}" not in reached} == set()
    assert not any(".trunk." in name for name in reached)
    assert {"text.head.weight", "vision.head.weight"} <= reached
    assert not any("pooler" in name or "similarity" in name for name in reached)
