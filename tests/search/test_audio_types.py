import numpy as np
import pytest

from trichord.search.audio_types import audio_at, tokens_of

TOKENS = (0.5, 0.0, 1.0)
STORED = np.array([[1, 0, 0, 1, -0.6, 0.8], [0, 0, 0, 0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("token", "tokens"),
    [
        (0.5, (0.5, 0.0, 1.0)),
        (0.0, (0.0, 0.5, 1.0)),
        (0.3, (0.3, 0.0, 0.5, 1.0)),
        ("clip", (0.5, 0.0, 1.0)),
        ("none", ()),
        ("both", ()),
    ],
)
def test_what_can_be_chosen_depends_on_how_the_run_listens(clip4vla, token, tokens):
    assert tokens_of(clip4vla(token)) == tokens


def test_other_audio_towers_leave_nothing_to_choose(tiny_model):
    assert tokens_of(tiny_model) == ()


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (0.5, (1, 0)),
        (0.0, (0, 1)),
        (1.0, (-0.6, 0.8)),
        (0.25, (np.sqrt(0.5), np.sqrt(0.5))),
        (0.1, (0.2 / np.sqrt(0.68), 0.8 / np.sqrt(0.68))),
        (0.75, (0.2 / np.sqrt(0.2), 0.4 / np.sqrt(0.2))),
    ],
)
def test_neighbouring_vectors_are_mixed_by_their_nearness(token, expected):
    found = audio_at(STORED, TOKENS, token)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected, (0, 0)], atol=1e-6)


def test_a_mixture_is_near_to_what_the_model_hears_there(clip4vla, rendered, decoder):
    model = clip4vla()
    tokens = (0.0, 0.5, 1.0, 0.25, 0.9)
    decoded = [
        decoder.decode(rendered / name, ((0.0, 2.0),), model.plan)[0]
        for name in ("red.mp4", "blue.mp4", "tone.wav")
    ]
    exact = model.embed_media(decoded, tokens).audio
    for i, token in ((3, 0.25), (4, 0.9)):
        mixed = audio_at(exact[:, :3].reshape(3, -1), tokens[:3], token)
        nearness = (mixed * exact[:, i]).sum(1)
        assert nearness.min() > 0.999
        assert 1 - nearness.min() < (1 - (exact[:, 1] * exact[:, i]).sum(1).max()) / 4
