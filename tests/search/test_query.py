import pytest

from trichord.search.query import Query
from trichord.types import UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "  "}, "text to search for is empty"),
        ({"text": "a", "image": "b"}, "exactly one of .*not 2"),
        ({}, "exactly one of .*not 0"),
        ({"text": "a", "sight": 0.0, "sound": 0.0}, "both 0"),
        ({"text": "a", "sight": -1.0}, "--sight is -1"),
        ({"text": "a", "sound": float("nan")}, "--sound is nan"),
        ({"text": "a", "sound": float("inf")}, "--sound is inf"),
        ({"text": "a", "sound_token": 1.01}, "--sound-token is 1.01"),
        ({"text": "a", "sound_token": -0.5}, "--sound-token is -0.5"),
        ({"text": "a", "sound_token": float("nan")}, "--sound-token is nan"),
    ],
)
def test_impossible_queries_are_refused(tmp_path, arguments, message):
    if "image" in arguments:
        arguments = {**arguments, "image": tmp_path / "b"}
    with pytest.raises(UserError, match=message):
        Query.of(**arguments)
