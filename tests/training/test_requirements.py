import pytest

from trichord.checkpoint import Run
from trichord.config import Adafactor, Draw, Experiment, Lora, Stage
from trichord.features.source import Captions, FeatureSource
from trichord.training import requirements
from trichord.training.fit import fit
from trichord.training.requirements import require_all, require_masks
from trichord.types import Caption, Clip, UserError

CLIPS = [Clip(id=f"{i}", path="/", captions=(Caption(text="x", about="audio"),)) for i in range(6)]


class Heard:
    """Six clips with audio captions."""

    clips = CLIPS
    captions = Captions.of(CLIPS)
    precomputed = ()

    def batch(self, clips, captions, masking=None): ...

    def texts(self, captions, toward): ...


@pytest.fixture
def require(tiny_trimodal, monkeypatch):
    """Ask whether a stage may be trained by four processes."""
    monkeypatch.setattr(requirements, "world_size", lambda: 4)

    def ask(*terms, sharded=False, validation=None, **changes):
        draws = (Draw(captions=("audio",), terms=terms),)
        settings = {"name": "s", "trains": ("text", "audio"), "criterion": (), "draws": draws}
        stage = Stage(**settings | {"batch_size": 4} | changes)
        experiment = Experiment(system="x", model=tiny_trimodal, stages=(stage,))
        sources = [Heard(), *([] if validation is None else [validation])]
        require_all(experiment, sources, sharded=sharded)

    return ask


def test_what_can_be_trained_is(require):
    require("at")
    require("at", chunk=1, towers=("audio", "text"), sharded=True)
    require("lm", towers=("text",))
    require("lm", towers=("audio",), sharded=True)


def test_each_process_has_a_clip_of_every_mini_batch(require):
    with pytest.raises(UserError, match="has 3 clips in a mini-batch for 4 processes"):
        require("at", batch_size=3)


def test_a_table_of_words_that_is_read_elsewhere_is_not_spread(require):
    with pytest.raises(UserError, match="leave out --sharding"):
        require("lm", towers=("text",), sharded=True)


def test_adafactor_needs_whole_matrices(require):
    trunk = {"towers": ("audio",), "optimizer": Adafactor()}
    require("at", **trunk)
    with pytest.raises(UserError, match=r"optimizer adafactor .*leave out --sharding"):
        require("at", sharded=True, **trunk)


def test_layers_that_no_trunk_has_are_refused_before_anything_is_written(
    small, learnable, tmp_path
):
    experiment = small("slava-av", towers=("vision",), lora=Lora(rank=2, targets=("query",)))
    model = experiment.model.build()
    clips, folder = learnable(model)
    with pytest.raises(
        UserError, match=r"^The vision trunk has no linear layer query: .* out_proj"
    ):
        fit(
            experiment,
            model,
            [FeatureSource(clips, model, folder)] * 2,
            Run(tmp_path / "run"),
            manifest="m",
            after_epoch=print,
        )
    assert not (tmp_path / "run").exists()


def test_a_single_clip_has_nothing_to_be_told_from(require, monkeypatch):
    monkeypatch.setattr(requirements, "world_size", lambda: 1)
    monkeypatch.setattr(Heard, "clips", CLIPS[:1])
    require("lm")
    with pytest.raises(UserError, match="contrasts clips with one another, and there is 1 to"):
        require("at")


def test_terms_of_texts_draw_captions(require):
    bare = (Draw(terms=("av",)), Draw(terms=("av", "vt")))
    with pytest.raises(UserError, match=r"asks for 'vt', .* --stages\.N\.draws\.1\.captions"):
        require(draws=bare)
    require(draws=bare[:1])
    with pytest.raises(UserError, match="asks for 'lm', a term of texts"):
        require(draws=(Draw(terms=("lm",)),))


def test_a_share_of_nonverbal_clips_that_there_are_not_is_refused(require):
    with pytest.raises(UserError, match="wants 2 nonverbal clips in every batch, but there are 0"):
        require("at", nonverbal_share=0.5)
    require("at", nonverbal_share=0.0)


def test_validation_clips_have_captions_that_the_criterion_asks_by(require):
    require("at", criterion=("visual<-visual", "audio<-audio"), validation=Heard())
    require("at", criterion=("visual<-sound",), validation=Heard())
    with pytest.raises(UserError, match=r"validation clips allow nothing .* \(visual<-visual\)"):
        require("at", criterion=("visual<-visual",), validation=Heard())


def test_masked_sound_is_read_from_media_by_an_encoder_that_masks(tiny_trimodal, tiny_clip4vla):
    def ask(config, *terms, read=()):
        source = Heard()
        source.precomputed = read
        stage = Stage(name="s", trains=("audio",), criterion=(), draws=(Draw(terms=terms),))
        experiment = Experiment(system="x", model=config, stages=(stage,))
        require_masks(experiment, config.build(), source)

    ask(tiny_clip4vla, "aa")
    ask(tiny_trimodal, "av", read=("audio",))
    with pytest.raises(UserError, match="read audio from media, not from cached features"):
        ask(tiny_clip4vla, "aa", read=("audio",))
    with pytest.raises(UserError, match="'aa' and 'mt' need CLIP4VLA's audio encoder"):
        ask(tiny_trimodal, "mt")
