"""Tiny media files whose content is known by construction."""

from types import SimpleNamespace

import pytest
from footage import counted_picture, make_movie, make_sound, noise, number_in

from trichord.media import Decoder


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        movie=make_movie, sound=make_sound, noise=noise, picture=counted_picture, number=number_in
    )


@pytest.fixture(scope="session")
def decoder():
    with Decoder(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def movie(tmp_path_factory):
    """Twenty seconds at 10 pictures a second, a keyframe each second, with AAC noise."""
    path = tmp_path_factory.mktemp("media") / "movie.mp4"
    return make_movie(path, seconds=20.0, sound=noise(20.0))
