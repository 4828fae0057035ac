from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared():
    """The folder of real media, which is no part of the project."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared media folder is not here")
    return folder


@pytest.fixture
def touch(tmp_path):
    """Make files under tmp_path; readers of annotations never look into media."""

    def made(*names, content=b""):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content or name.encode())
        return tmp_path

    return made
