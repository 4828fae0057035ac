import pytest

from trichord.search.query import split_negatives


@pytest.mark.parametrize(
    ("text", "wanted", "avoided"),
    [
        ("dog -leash", "dog", ("leash",)),
        ("dog −leash", "dog", ("leash",)),
        ("dog –leash", "dog", ("leash",)),
        ('dog -"red car" barks', "dog barks", ("red car",)),
        ("dog −“red car”", "dog", ("red car",)),
        ("-leash  dog\t-cat", "dog", ("leash", "cat")),
        ("-leash", "", ("leash",)),
        ("dog -well-behaved", "dog", ("well-behaved",)),
    ],
)
def test_what_stands_behind_a_minus_is_to_be_avoided(text, wanted, avoided):
    assert split_negatives(text) == (wanted, avoided)


@pytest.mark.parametrize(
    "text",
    [
        "a  low bell ", "a black-and-white dog", "dog - cat", "dog -", "dog --leash", 'dog -"leash',
        'dog -""', 'dog -" "', '"red car" dog', "", "minus−sign",
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text):
    assert split_negatives(text) == (text, ())
