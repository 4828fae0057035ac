"""Folders that the page may have this machine open."""

from pathlib import Path

import pytest

from trichord.service import file_manager
from trichord.service.catalogue import file_id
from trichord.service.file_manager import command_of
from trichord.service.security import Access
from trichord.types import UserError

OPENING = {"access": Access(open_folders=True)}


@pytest.fixture
def commands(monkeypatch):
    """Commands that would run; none does."""
    run = []

    class Started:
        def __init__(self, command, **options):
            assert not options.get("shell")
            run.append(command)

        def wait(self, seconds):
            return 0

    monkeypatch.setattr(file_manager, "Popen", Started)
    return run


def address(file):
    return f"/api/files/{file_id(str(file))}/open"


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("linux", ["xdg-open", "/films/a & b"]),
        ("darwin", ["open", "-R", "/films/a & b/-x $(y).mp4"]),
        ("win32", ["explorer", "/select,", "/films/a & b/-x $(y).mp4"]),
    ],
)
def test_each_system_has_its_command(system, command):
    assert command_of(Path("/films/a & b/-x $(y).mp4"), system) == command


def test_a_file_of_the_archive_is_shown(ask, root, commands):
    for file in (root / "red.mp4", root / "more" / "tone.wav"):
        assert ask("POST", address(file), options=OPENING).status_code == 204
    assert commands == [command_of(root / "red.mp4"), command_of(root / "more" / "tone.wav")]
    assert ask("GET", "/api/collection", options=OPENING).json()["open_folders"] is True


def test_no_folder_is_opened_unless_the_service_was_started_for_it(ask, root, commands):
    refused = ask("POST", address(root / "red.mp4"))
    assert refused.status_code == 404
    assert "--open-folders" in refused.json()["error"]
    assert ask("GET", "/api/collection").json()["open_folders"] is False
    assert commands == []


def test_no_folder_is_opened_for_what_is_not_of_the_archive(ask, root, commands, tmp_path):
    other = root / "other.mp4"
    other.write_bytes(b"x")
    for path in (address(other), address("/etc/passwd"), "/api/files/..%2f..%2fetc/open"):
        assert ask("POST", path, options=OPENING).status_code in (404, 422)
    (root / "red.mp4").unlink()
    assert ask("POST", address(root / "red.mp4"), options=OPENING).status_code == 404
    (tmp_path / "elsewhere.mp4").write_bytes(b"x")
    (root / "red.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    assert ask("POST", address(root / "red.mp4"), options=OPENING).status_code == 404
    assert commands == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ],
)
def test_no_page_of_another_site_opens_a_folder(ask, root, commands, headers):
    there = address(root / "red.mp4")
    assert ask("POST", there, options=OPENING, headers=headers).status_code == 403
    assert ask("GET", there, options=OPENING).status_code == 405
    assert commands == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0", "token": "a-token-of-more-than-16"}, "--host 0.0.0.0"),
        ({"names": ("box.local",)}, "--name"),
        ({"origins": ("https://example.org",)}, "--allow-origin"),
    ],
)
def test_folders_are_opened_for_this_machine_alone(options, said):
    Access(**options)
    with pytest.raises(UserError, match=said) as refused:
        Access(open_folders=True, **options)
    assert "--open-folders" in str(refused.value)


def test_where_there_is_no_file_manager_it_says_so(ask, root, monkeypatch):
    def command_of(program):
        return lambda file: [program]

    for program in ("/no/such/program", "false"):
        monkeypatch.setattr(file_manager, "command_of", command_of(program))
        refused = ask("POST", address(root / "red.mp4"), options=OPENING)
        assert refused.status_code == 501
        assert "No folder opens here" in refused.json()["error"]
    monkeypatch.setattr(file_manager, "command_of", command_of("true"))
    assert ask("POST", address(root / "red.mp4"), options=OPENING).status_code == 204
