import io
import os
import re
import subprocess
import sys

import pytest

from trichord.cli import main
from trichord.cli.main import COMMANDS, OTHERS
from trichord.types.terms import TERMS


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in [*COMMANDS, *OTHERS.kinds()])
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith("trichord 0.1.0\n")


def test_a_mistyped_command_suggests_the_right_one(capsys):
    assert main(["serach", "x"]) == 2
    assert "did you mean 'search'?" in capsys.readouterr().err
    assert main(["xyzzy"]) == 2
    assert "'trichord --help' lists them" in capsys.readouterr().err


def test_numpys_threads_do_not_spin_beside_torchs_unless_asked_to(monkeypatch, capsys):
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    assert main(["compare", "nowhere"]) == 2
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "20"
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    assert main(["compare", "nowhere"]) == 2
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "4"


@pytest.mark.parametrize(("name", "threads"), [("extract", "1"), ("evaluate", None)])
def test_numpy_has_one_thread_where_it_multiplies_little(name, threads, monkeypatch, capsys):
    for given in ("3", None):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
        if given is None:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        assert main([name, "nowhere", "nowhere"]) == 2
        assert os.environ.get("OPENBLAS_NUM_THREADS") == (given or threads)


@pytest.mark.parametrize("name", [*COMMANDS, *OTHERS.kinds()])
def test_every_command_explains_itself(name, capsys):
    try:
        code = main([name, "--help"])
    except SystemExit as stopped:
        code = stopped.code
    assert not code
    assert "usage: trichord" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("search a b --audo 1", "search: there is no option --audo: did you mean --audio?"),
        ("search --audo 1", "search: there is no option --audo: did you mean --audio?"),
        ("search a b --audo=1", "search: there is no option --audo: did you mean --audio?"),
        ("search a b --xyzzy", "search: there is no option --xyzzy: 'trichord search --help' lists all"),
        ("search a b c", "search: 'c' is one argument too many: leave it out"),
        ("search a b --k", "search: --k: a value is missing: give a whole number."),
        ("search a b --k 1.5", "search: --k 1.5: give a whole number."),
        ("search a b --k=", "search: --k: give a whole number."),
        ("search a b --has-audio maybe", "--has-audio maybe: choose one of True, False."),
        ("search a b --since yesterday", "--since yesterday: give YYYY-MM-DD"),
        ("search a b --group=3", "--group=3: it takes no value: give --group alone."),
        ("evaluate a", "evaluate: MANIFEST is missing: 'trichord evaluate --help'"),
        ("evaluate", "evaluate: RUN|MODEL and MANIFEST are missing"),
        ("evaluate --resample 3", "there is no option --resample: did you mean --captions.resamples?"),
        ("index a b c --cut frame", "index: --cut frame: choose one of window, shots."),
        ("extract a --jobs one", "--jobs one: give a whole number."),
        ("study", "study: STUDY is missing: 'trichord study --help'"),
        ("study fusions a b", "study: there is no study 'fusions': did you mean 'fusion'?"),
        ("study fusion a b --seed 1", "there is no option --seed: did you mean --seeds?"),
        ("train clip-clap a b --seeds 1 x", "--seeds 1 x: give a whole number."),
        ("train slava-av a b --lr 1", "--lr: did you mean --stages.0.optimizer.lr?"),
        ("train slava-av a b --from film", "--from film: choose one of features, media."),
    ],
)  # fmt: skip
def test_what_the_parser_refuses_is_one_line_with_the_remedy(line, said, capsys):
    assert main(line.split()) == 2
    told, complaint = capsys.readouterr()
    assert said in complaint
    assert (told, complaint.count("\n")) == ("", 1)


def test_a_parser_without_events_draws_its_own_box(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with pytest.raises(SystemExit) as stopped:
        main(["search", "a", "b", "--audo", "1"])
    assert stopped.value.code == 2
    assert "--audio" in capsys.readouterr().err


def test_the_help_of_training_names_all_terms_of_the_loss(capsys):
    with pytest.raises(SystemExit):
        main(["train", "slava-av", "--help"])
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert f"Terms of --stages.N.draws.N.terms: {', '.join(TERMS)}" in shown


def test_help_and_mistakes_in_arguments_never_load_torch():
    lines = (
        "--help", "search --help", "train --help", "train slava-av --help", "search nowhere words",
        "search nowhere", "train nonsense", "index nowhere collection", "doctor nowhere",
        "extract nowhere",
    )  # fmt: skip
    code = (
        "import sys\nfrom trichord.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n        main(line.split())\n    except SystemExit:\n        pass\n"
        "    if 'torch' in sys.modules:\n        sys.exit(line)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_interruption_is_one_line_and_130(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("trichord_world.rendering.world", interrupted)
    assert main(["world", "x"]) == 130
    assert "interrupted; nothing is lost" in capsys.readouterr().err
    monkeypatch.setattr("trichord.cli.cutting.cut", interrupted)  # cannot go on in the same folder
    assert main(["cut", "hits.json", "out"]) == 130
    assert "another folder" in capsys.readouterr().err


def test_a_terminal_without_a_files_letters_shows_them_by_number(tmp_path, monkeypatch):
    (tmp_path / "\N{CLAPPER BOARD}\x1b[31m.mp4").write_bytes(b"x")
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", shown)
    assert main(["doctor", str(tmp_path)]) == 0
    shown.flush()
    told = shown.buffer.getvalue()
    assert b"\\U0001f3ac" in told
    assert b"\x1b[31m" not in told
