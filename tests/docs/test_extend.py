"""The code that `docs/how-to/extend.md` shows is that of the examples, and these are short."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text()
MOST = {
    "dinov2/dinov2.py": 40,
    "efficientnet-sound/efficientnet_sound.py": 50,
    "margin-loss/margin_loss.py": 30,
    "real-towers/real_towers.py": 220,
    "text-weighted-fusion/text_weighted_fusion.py": 50,
    "vggsound/vggsound.py": 50,
}
"""Lines after `ruff format`."""


def test_the_page_shows_the_files_themselves():
    shown = re.findall(r"<!-- = (examples/\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) == 2
    for name, code in shown:
        assert code == (ROOT / name).read_text(), name


@pytest.mark.parametrize("name", MOST)
def test_an_example_is_short_as_it_is_formatted(name):
    path = ROOT / "examples" / name
    assert len(path.read_text().splitlines()) <= MOST[name]
    formatted = [sys.executable, "-m", "ruff", "format", "--check", "--quiet", str(path)]
    assert subprocess.run(formatted, check=False).returncode == 0
