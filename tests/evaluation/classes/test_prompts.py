import numpy as np
import pytest

from trichord.evaluation.classes.prompts import PROMPTS, class_vectors, templates, words, zero_shot
from trichord.evaluation.gallery import ClipVectors
from trichord.types import UserError
from trichord.types.comparable import ALL_PAIRS


def test_prompts_are_a_named_set_sentences_or_those_that_fit_the_modality():
    assert templates((), "vision") == PROMPTS["picture"]
    assert templates((), "audio") == PROMPTS["sound"]
    assert templates(("sound",), "vision") == PROMPTS["sound"]
    assert templates(("I see {}", "{}!"), "audio") == ("I see {}", "{}!")


@pytest.mark.parametrize(
    "given", [("a photo",), ("{} and {}",), ("{}", "plain"), ("sounds",), ("",)]
)
def test_a_sentence_without_a_place_for_the_class_is_refused(given):
    with pytest.raises(UserError, match=r"write \{\} once where the class stands"):
        templates(given, "vision")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chirping_birds", "chirping birds"),
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("YoYo", "yo yo"),
        ("Dog bark", "dog bark"),
        ("Child speech, kid speaking", "child speech, kid speaking"),
        ("Glocke_läutet", "glocke läutet"),
    ],
)
def test_class_names_are_said_as_words(name, said):
    assert words(name) == said


def test_a_class_is_the_normalised_mean_of_its_sentences(tiny_model):
    found = class_vectors(tiny_model, ("red_ball", "Bell"), ("a {}", "see {}"), "vision")
    for row, name in enumerate(("red ball", "bell")):
        mean = tiny_model.embed_text([f"a {name}", f"see {name}"]).astype(float).mean(axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-7)


def test_the_untrained_pair_says_classes_in_either_space(untrained_model):
    sight, sound = (
        class_vectors(untrained_model, ("bell", "drum"), ("{}",), toward)
        for toward in ("vision", "audio")
    )
    assert not np.allclose(sight, sound)


@pytest.fixture
def vectors():
    """Sight says class 0 for all; sound says 1; clip 1 is silent, clip 2 dark, clip 3 neither."""
    has = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)

    def make(**rest):
        return ClipVectors(
            ids=("a", "b", "c", "d"),
            vision=np.where(has[0][:, None], [2.0, 0.0], np.nan),
            has_vision=has[0],
            audio=np.where(has[1][:, None], [0.0, 3.0], np.nan),
            has_audio=has[1],
            captions={},
            **rest,
        )

    return make


def test_each_modality_answers_for_the_clips_that_have_it(vectors):
    sight = zero_shot(vectors(), {"vision": np.eye(2)})
    assert sight[:2].tolist() == [[1, 0], [1, 0]]
    assert np.isnan(sight[2:]).all()
    sound = zero_shot(vectors(), {"audio": np.eye(2)})
    assert sound[[0, 2]].tolist() == [[0, 1], [0, 1]]
    assert np.isnan(sound[[1, 3]]).all()


def test_both_together_are_the_mean_over_what_a_clip_has(vectors):
    both = zero_shot(vectors(), {"vision": np.eye(2), "audio": np.eye(2)})
    assert both[:3].tolist() == [[0.5, 0.5], [1, 0], [0, 1]]
    assert np.isnan(both[3]).all()


def test_two_spaces_are_not_fused(vectors):
    apart = vectors(comparable=ALL_PAIRS - {("audio", "vision")})
    with pytest.raises(ValueError, match="does not compare audio with vision"):
        zero_shot(apart, {"vision": np.eye(2), "audio": np.eye(2)})
    assert zero_shot(apart, {"audio": np.eye(2)})[0].tolist() == [0, 1]
