from trichord.cli.main import COMMANDS
from trichord_world.demo import Demo, chapters, next_commands, seen_and_heard
from trichord_world.law import scenes


def test_the_demo_runs_the_whole_way_and_leaves_its_pictures(command, tmp_path, capsys):
    place = tmp_path / "demo"
    sizes = Demo(train=16, val=8, test=10, seeds=(0,), epochs=1)
    assert command(f"demo {place} --train 16 --val 8 --test 10 --seeds 0 --epochs 1") == 0
    shown = capsys.readouterr().out
    assert f"$ trichord train world-slava-a-and-v {place}/clips.jsonl" in shown
    assert "What to type next" in shown
    pictures = [place / "comparison.png", *(place / f"search-{n}.png" for n in range(1, 6))]
    assert all(picture.stat().st_size > 5_000 for picture in pictures)
    again = [line for _, chapter in chapters(place, sizes) for line in chapter]
    kept = [line for line in again if line.split()[0] in ("train", "extract", "index")]
    assert [command(line) for line in kept] == [0] * 10
    again = capsys.readouterr().out
    assert " ".join(again.split()).count("already trained") == 8  # however lines are broken
    assert "34 done" in again
    assert "10 unchanged" in again


def test_every_line_of_the_demo_is_a_command(tmp_path):
    lines = [line for _, chapter in chapters(tmp_path, Demo()) for line in chapter]
    assert len(lines) == 27
    assert {line.split()[0] for line in lines} == {"world"} | COMMANDS.keys() - {
        "study", "caption", "check-encoder", "classify", "compose", "cut", "export", "import", "models",
        "probe", "relocate", "reproduce", "serve", "transcribe",
    }  # fmt: skip
    assert all(line.split()[1] in COMMANDS for line in next_commands(tmp_path))


def test_the_demo_asks_with_clips_that_can_be_seen_and_heard():
    names = seen_and_heard(100)
    held = {scene.id: scene for scene in scenes("val", 100, 0)}
    assert len(set(names)) == 3
    assert not any(held[name].dark or held[name].silent for name in names)


def test_an_impossible_demo_is_refused_before_anything_is_rendered(command, tmp_path, capsys):
    assert command(f"demo {tmp_path}/demo --epochs 0") == 2
    assert capsys.readouterr().err == (
        "trichord demo: --epochs 0: give a number from 1 to 1000000.\n"
    )
    assert not (tmp_path / "demo").exists()
