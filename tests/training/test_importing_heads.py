"""The captioner and the classifier of a published checkpoint: read, used, or named and counted."""

import pytest
import torch
from published_model import (
    DIM,
    END,
    FRAMES,
    HEARD,
    PAD,
    SEGMENTS,
    SHOWN,
    START,
    TEXTS,
    WORDS,
    caption_logits,
    captioning,
    checkpoint,
    classifying,
    error,
    linear,
    norm,
    padded,
    picture_features,
    sound_features,
)

from trichord.corpora.esc50 import CLASSES
from trichord.evaluation.classes.published_head import read_head
from trichord.models.beams import Decoding
from trichord.models.decoding import write
from trichord.training.importing import NOTES
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

CAPTIONS = [*TEXTS[:2], "the bell sings", "do the bells ring"]
"""Of four clips, the last of which can be heard only and the third seen only."""
KINDS = {"vision": 1, "audio": 2}


def shown_and_heard(w, token=0.5):
    """Inputs of frames and segments, and what the independent model makes of them."""
    inputs = {"vision": padded(SHOWN, FRAMES), "audio": padded(HEARD, SEGMENTS, seed=4)}
    frames = picture_features(w, "clip.visual", inputs["vision"].values.flatten(0, 1))
    sounds = sound_features(w, inputs["audio"].values.flatten(0, 1), token)
    steps = {
        "vision": frames.unflatten(0, (4, FRAMES)),
        "audio": sounds.unflatten(0, (4, SEGMENTS)),
    }
    return inputs, steps


def parts_of(inputs, steps, reads):
    return [(steps[name], inputs[name].mask, KINDS[name]) for name in reads]


def written(model, captions):
    """Token ids of captions as the authors pad them, and which are real."""
    rows = model.token_ids(captions)
    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids, ids != PAD


@torch.no_grad()
@pytest.mark.parametrize(
    ("reads", "words"),
    [
        (("vision", "audio"), 32),
        (("vision", "audio"), 48),
        pytest.param(("vision",), 32, marks=pytest.mark.slow),
        (("vision",), 65),
        pytest.param(("audio",), 32, marks=pytest.mark.slow),
        (("audio",), 61),
    ],
)
def test_scores_of_words_are_the_published_ones(take, reads, words):
    w = captioning()
    model = take(w, reads=reads, words=words).load()
    inputs, steps = shown_and_heard(w)
    ids, real = written(model, CAPTIONS)
    told = Padded(ids, real)
    text = Padded(ids[:, None], torch.ones(len(ids), 1, dtype=torch.bool))
    found = model(Batch(ids=tuple("abcd"), text=text, words=told, **inputs)).words
    # As published, captions are padded to the end of their room, and lose their last token.
    given = torch.nn.functional.pad(ids, (0, words - ids.shape[1]), value=PAD)
    follows = torch.nn.functional.pad(real[:, 1:], (0, 1 + words - ids.shape[1]))
    expected = caption_logits(w, given, follows, parts_of(inputs, steps, reads))
    present = torch.stack([inputs[name].mask.any(dim=1) for name in reads]).any(dim=0)
    asked = follows & present[:, None]
    ours = torch.zeros_like(expected)
    ours[present] = found.logits.unflatten(0, (-1, words))
    assert error(ours[asked], expected[asked]) < 2e-6
    assert torch.equal(ours[asked].argmax(dim=1), expected[asked].argmax(dim=1))
    assert asked.sum() > 5 * present.sum()


def greedy(w, parts, clip, never):
    """The likeliest word after the other, each from the whole caption so far."""
    ids = [START]
    one = [(steps[clip : clip + 1], mask[clip : clip + 1], kind) for steps, mask, kind in parts]
    total = 0.0
    while ids[-1] != END and len(ids) < WORDS:
        given = torch.tensor([ids + [PAD] * (WORDS - len(ids))])
        scores = caption_logits(w, given, given != PAD, one)[0, len(ids) - 1].log_softmax(0)
        allowed = scores.clone()
        allowed[never] = -torch.inf
        allowed[END] = -torch.inf if len(ids) == 1 else scores[END]
        ids.append(int(allowed.argmax()))
        total += float(scores[ids[-1]])
    return tuple(ids), total


@torch.no_grad()
def test_captions_are_written_as_the_published_scores_say(take):
    w = captioning()
    model = take(w).load()
    inputs, steps = shown_and_heard(w)
    parts = parts_of(inputs, steps, ("vision", "audio"))
    vision = model.vision(model.vision.trunk_features(inputs["vision"]))
    audio = model.audio(model.audio.trunk_features(inputs["audio"]))
    one = write(model, vision, audio, Decoding(beams=1))
    never = torch.tensor([t for t in model.text.tokenizer.all_special_ids if t != END])
    for clip, captions in enumerate(one):
        tokens, likelihood = greedy(w, parts, clip, never)
        assert captions[0].tokens == tokens
        assert captions[0].log_likelihood == pytest.approx(likelihood, rel=1e-4)
        assert captions[0].text
    several = write(model, vision, audio, Decoding(beams=5))
    for clip, captions in enumerate(several):
        assert len(captions) == 5
        assert captions[0].log_likelihood >= one[clip][0].log_likelihood - 1e-4
        for caption in captions:
            ids = list(caption.tokens[:-1])
            given = torch.tensor([ids + [PAD] * (WORDS - len(ids))])
            mine = [(s[clip : clip + 1], m[clip : clip + 1], kind) for s, m, kind in parts]
            scores = caption_logits(w, given, given != PAD, mine)[0, : len(ids)].log_softmax(1)
            total = scores[range(len(ids)), caption.tokens[1:]].sum()
            assert caption.log_likelihood == pytest.approx(float(total), rel=1e-4)


def test_a_captioner_without_a_score_of_pairs_says_how_it_fuses(take):
    run = take(captioning())
    assert run.experiment().model.fusion.kind == "global-to-global"
    notes = run.environment()[NOTES]
    assert notes["fusion"].startswith("global_to_global (its cross transformer scores no pairs")
    assert notes["captions"] == "from vision and audio (assumed; else give --reads)"
    assert "left out" not in notes
    with pytest.raises(UserError, match=r"--fusion tight: .* choose global_to_global"):
        take(captioning(), "again", fusion="tight")


@torch.no_grad()
def test_a_transformer_that_scores_pairs_and_writes_captions_does_both(take):
    model = take(captioning(scores=True)).load()
    ours, theirs = model.fusion.cross.state_dict(), model.captioner.cross.state_dict()
    alike = [name for name in ours if not name.startswith("similarity.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in alike)


def test_a_run_holds_no_file_that_nothing_reads(take):
    both = captioning() | {k: v for k, v in classifying().items() if k.startswith("cls_linear.")}
    names = {path.name for path in take(both).path.iterdir()}
    assert names == {
        "clip",
        "environment.json",
        "experiment.json",
        "head.safetensors",
        "metrics.jsonl",
        "weights.safetensors",
    }


# Classifier


def test_scores_of_classes_are_a_norm_and_a_linear_layer(take):
    w = classifying()
    head = read_head(take(w).path)
    values = torch.randn(7, DIM, generator=torch.Generator().manual_seed(9))
    expected = linear(w, "cls_linear.1", norm(w, "cls_linear.0", values))
    assert error(torch.from_numpy(head.scores(values.numpy())), expected) < 1e-6
    assert head.classes == CLASSES


def test_a_checkpoint_with_a_classifier_listens_for_events(take):
    assert take(classifying(), "a").experiment().model.audio.token == 1.0
    assert take(classifying(), "b", token=0.25).experiment().model.audio.token == 0.25
    assert take("pretrained", "c").experiment().model.audio.token == 0.5


# What is not used


@pytest.mark.parametrize(
    ("state", "recipe", "said"),
    [
        (
            classifying(527),
            {},
            "4 tensors, cls_linear.*: a head of 527 classes that nobody names; ESC-50's has 50",
        ),
        (
            captioning("bert"),
            {},
            "44 tensors, cls.predictions.*, cross.*: captioners are read with CLIP's blocks only",
        ),
        (
            captioning("bert", scores=True),
            {},
            "6 tensors, cls.predictions.*: captioners are read with CLIP's blocks only, not BERT's",
        ),
        (
            checkpoint("clip"),
            {"fusion": "global_to_global"},
            "28 tensors, cross.*, similarity_dense.*: --fusion global_to_global has no use for it",
        ),
        (
            captioning(scores=True),
            {"fusion": "global_to_global"},
            "2 tensors, similarity_dense.*: --fusion global_to_global has no use for it",
        ),
        (
            {k: v for k, v in checkpoint("clip").items() if not k.startswith("similarity_dense.")},
            {},
            "26 tensors, cross.*: neither similarity_dense.* nor cls.predictions.* is with it",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_counted(take, state, recipe, said):
    run = take(state, **recipe)
    assert said in run.environment()[NOTES]["left out"]
    run.load()


def test_of_a_whole_checkpoint_nothing_is_left_out(take):
    for name, state in {"a": captioning(), "b": classifying(), "c": checkpoint("bert")}.items():
        assert "left out" not in take(state, name).environment()[NOTES]
