"""Composed captions by a template, and by a server of chat completions on this machine."""

import pytest
from chat_server import said, server

from trichord.corpora.chat_endpoint import ChatEndpoint, require_local
from trichord.corpora.composing import PROMPT, REFUSED, Recipe, compose
from trichord.corpora.prepared import Tally
from trichord.types import Caption, Clip, UserError


def clip(name, audio=(), visual=(), **rest):
    texts = [Caption(text=t, about="audio") for t in audio]
    texts += [Caption(text=t, about="visual") for t in visual]
    return Clip(id=name, path=f"/{name}.mp4", captions=(*texts, *rest.pop("more", ())), **rest)


def composed(clips, recipe, write, journal):
    tally = Tally()
    found = list(compose(clips, recipe, write, journal, tally))
    new = [[c for c in one.captions if c.recipe] for one in found]
    return found, [[c.text for c in some] for some in new], tally.counts


def test_a_template_joins_captions_of_picture_and_sound_and_is_named_as_such(tmp_path):
    clips = [clip("a", ["A dog barks."], ["a yard", "a lawn."]), clip("b", ["x"], ["y"])]
    found, texts, counts = composed(clips, Recipe(), None, tmp_path / "j")
    assert texts == [
        ["a yard; the sound: A dog barks", "a lawn; the sound: A dog barks"],
        ["y; the sound: x"],
    ]
    assert {c.source for c in found[0].captions if c.recipe} == {"template"}
    assert {c.kind for c in found[0].captions if c.recipe} == {"composed"}
    assert counts == {"clips composed": 2}


def test_a_clip_lacking_a_kind_and_one_composed_before_are_skipped_and_counted(tmp_path):
    speech = Caption(text="hello", about="audio", source="speech")
    missing = Caption(text="nan", about="audio")
    done = Caption(text="z", about="audio_visual", source="template", recipe=Recipe().name)
    clips = [
        clip("a", ["x"]),
        clip("b", visual=["y"], more=(speech, missing)),
        clip("c"),
        clip("d", ["x"], ["y"], more=(done,)),
        clip("e", ["x"], ["y"], more=(Caption(text="w", about="audio_visual", source="llm"),)),
    ]
    found, texts, counts = composed(clips, Recipe(), None, tmp_path / "j")
    assert found[:4] == clips[:4]
    assert texts[4] == ["y; the sound: x"]
    assert counts == {
        "clips skipped for want of a caption of picture": 1,
        "clips skipped for want of a caption of sound": 1,
        "clips skipped for want of a caption of sound and picture": 1,
        "clips skipped, being composed by this recipe already": 1,
        "clips composed": 1,
    }


def test_a_server_is_asked_for_each_caption_with_another_seed(tmp_path):
    with server(lambda asked, n: said(f'"answer {n}"')) as (url, asked):
        recipe = Recipe(
            model="m", endpoint=url, prompt=PROMPT, captions=2, temperature=0.5, max_tokens=9
        )
        clips = [clip("a", ["bark {visual}"], ["a yard", "a lawn"])]
        found, texts, counts = composed(clips, recipe, ChatEndpoint(recipe), tmp_path / "j")
    assert texts == [["answer 1", "answer 2"]]
    assert found[0].captions[-1].source == "llm"
    assert counts == {"clips composed": 1}
    (path, first), (_, second) = asked
    assert path == "/v1/chat/completions"
    assert second["seed"] == first["seed"] + 1
    content = first["messages"][0]["content"]
    assert "video:\nbark {visual}\n\nThese" in content
    assert "picture:\na yard\na lawn\n\nWrite" in content
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("m", 0.5, 9)


def test_answers_that_are_no_sentence_are_left_out_and_counted(tmp_path):
    answers = [
        said("<think>\nwell\n</think>\na dog barks in a yard"), said("a dog barks in a yard"),
        said("a dog barks and", "length"), said(None), said("Sure:\n\na dog"), said("N/A"),
    ]  # fmt: skip
    with server(lambda asked, n: answers[n - 1]) as (url, _):
        recipe = Recipe(model="m", endpoint=url, prompt=PROMPT, captions=6)
        _, texts, counts = composed(
            [clip("a", ["x"], ["y"])], recipe, ChatEndpoint(recipe), tmp_path / "j"
        )
    assert texts == [["a dog barks in a yard"]]
    assert counts == {
        "answers left out, being the same as an earlier one": 1,
        REFUSED: 4,
        "clips composed": 1,
    }


def test_a_clip_without_any_answer_stays_as_it_is(tmp_path):
    clips = [clip("a", ["x"], ["y"])]
    found, _, counts = composed(
        clips, Recipe(model="m"), lambda prompt, count, seed: [], tmp_path / "j"
    )
    assert found == clips
    assert counts == {"clips skipped, their captions being longer than the model reads": 1}


def test_answers_before_an_interruption_are_not_asked_for_again(tmp_path):
    clips = [clip(name, [f"{name} barks"], ["y"]) for name in "abcd"]
    prompts = []

    def write(prompt, count, seed):
        prompts.append(prompt)
        if len(prompts) == 3:
            raise KeyboardInterrupt
        return [f"{seed}"]

    recipe, journal = Recipe(model="m", prompt="{audio} {visual}", captions=1), tmp_path / "j"
    with pytest.raises(KeyboardInterrupt):
        composed(clips, recipe, write, journal)
    with journal.open("ab") as file:  # as a kill may leave it
        file.write(b'\n{"key": "12')
    clips[1] = clip("b", ["b purrs"], ["y"])  # its answer was to other captions
    _, texts, _ = composed(clips, recipe, write, journal)
    assert prompts == ["a barks y", "b barks y", "c barks y", "b purrs y", "c barks y", "d barks y"]
    again = [clip(name, [f"{name} barks"], ["y"]) for name in "dca"]
    _, fresh, _ = composed(again, recipe, write, tmp_path / "k")
    assert fresh == [texts[3], texts[2], texts[0]]  # whatever came before
    assert len(journal.read_bytes().split(b"\n")) == 1 + 2 + 1 + 3


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://10.0.0.2:8000/v1",
        "http://127.0.0.1.evil.org/v1",
        "http://localhost@evil.org/v1",
        "file:///etc/passwd",
        "127.0.0.1:8000",
        "http://[::1",
        "",
        "http://127.0.0.1:port/v1",
        "ftp://localhost/v1",
    ],
)
def test_an_endpoint_of_another_machine_is_refused(url):
    with pytest.raises(UserError, match="give one of this machine"):
        require_local(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434/v1", "http://localhost/v1", "https://[::1]:8/v1"]
)
def test_an_endpoint_of_this_machine_is_taken(url):
    require_local(url)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {"error": "no model 'm'"}, {}), "refused, 404 .*no model"),
        ((200, {"object": "list"}, {}), "gave no chat completion"),
        ((200, b"<html>", {}), "gave no chat completion"),
        ((200, {"choices": [{"message": "text"}]}, {}), "gave no chat completion"),
        ((302, {}, {"Location": "http://192.0.2.1/v1"}), "refused, 302"),
    ],
)
def test_a_wrong_answer_is_one_line(answer, says):
    with server(lambda asked, n: answer) as (url, _):
        recipe = Recipe(model="m", endpoint=url)
        with pytest.raises(UserError, match=says) as caught:
            ChatEndpoint(recipe)("prompt", 1, 0)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_line(monkeypatch):
    with server(lambda asked, n: said("x")) as (url, _):
        pass
    with server(lambda asked, n: said("x")) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)  # a proxy would be another machine
        with pytest.raises(UserError, match="does not answer"):
            ChatEndpoint(Recipe(model="m", endpoint=url))("prompt", 1, 0)
    assert asked == []
