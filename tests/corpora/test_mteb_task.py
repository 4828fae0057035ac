"""Without the package; with it, tests/api/test_mteb.py."""

from importlib.util import find_spec

import pytest

from trichord.cli.main import main


@pytest.mark.skipif(find_spec("mteb") is not None, reason="MTEB is installed here")
def test_without_the_package_the_extra_is_named(tmp_path, capsys):
    manifest = tmp_path / "clips.jsonl"
    assert (
        main(["prepare", "mteb", str(tmp_path), str(manifest), "--task", "ClothoT2ARetrieval"]) == 2
    )
    assert "pip install 'trichord[mteb]'" in capsys.readouterr().err
    assert not manifest.exists()


def test_its_options_go_with_it_alone(tmp_path, capsys):
    assert (
        main(["prepare", "clotho", str(tmp_path), str(tmp_path / "c.jsonl"), "--task", "Any"]) == 2
    )
    assert "--task goes with 'mteb', not with 'clotho'." in capsys.readouterr().err
