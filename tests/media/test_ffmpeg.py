import json

import av
import pytest

from trichord.cli.corpora import doctor
from trichord.media.ffmpeg import known_holes


@pytest.mark.parametrize(
    "version", ["8.1.2", "n8.1", "7.1.3", "4.4.2-0ubuntu0.22.04.1", "8.1.2-static"]
)
def test_a_release_with_known_holes_is_named_in_one_line(version):
    line = known_holes(version)
    assert line.startswith(f"FFmpeg {version} has vulnerabilities that 8.1.3 fixes (CVE-")
    assert "\n" not in line


@pytest.mark.parametrize("version", ["8.1.3", "n8.1.10", "8.2", "9.0.1", "N-121000-gabcdef", ""])
def test_of_newer_ones_and_those_between_releases_none_is_known(version):
    assert known_holes(version) == ""


def test_the_one_in_use_is_looked_at():
    assert known_holes() == known_holes(av.ffmpeg_version_info)


def test_the_doctor_says_so_once_beside_what_it_prints(tmp_path, make, capsys):
    sound = make.sound(tmp_path / "a.wav", make.noise(0.1))
    doctor([str(sound), "--json", "--workers", "1"])
    printed = capsys.readouterr()
    assert " ".join(printed.err.split()).count("has vulnerabilities that") == (known_holes() != "")
    assert json.loads(printed.out)["statuses"] == {"no_video": 1}
