"""What is missing is told with its remedy, to users and to callers."""

import pytest

from trichord.types import UserError
from trichord.types.extras import TOWERS, NotInstalledError, extras_named


@pytest.mark.parametrize("name", sorted(TOWERS))
def test_a_package_of_the_towers_that_is_missing_is_named(name):
    said = f"needs {name}, .* 'trichord\\[towers\\]'"
    with pytest.raises(NotInstalledError, match=said) as told, extras_named():
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    assert isinstance(told.value, UserError)
    assert isinstance(told.value, ImportError)
    assert "\n" not in str(told.value)


def test_the_caption_metrics_come_with_the_extra_captions():
    said = r"^This needs caption_metrics, which is not installed: pip install 'trichord\[captions\]'\.$"
    with pytest.raises(NotInstalledError, match=said), extras_named():
        raise ModuleNotFoundError("no", name="caption_metrics")


@pytest.mark.parametrize("name", ["numpy", "torch.nothing", None])
def test_what_no_extra_brings_goes_through(name):
    with pytest.raises(ModuleNotFoundError) as told, extras_named():
        raise ModuleNotFoundError("as it is", name=name)
    assert not isinstance(told.value, NotInstalledError)
    assert str(told.value) == "as it is"
