"""Each paper's system with the other one's audio tower: towers are pluggable."""

from dataclasses import replace

from trichord.config import Clap, ClipAudio, Experiment
from trichord.experiments import clip4vla, slava

CLIP4VLA_IN_SLAVA, CLAP_IN_CLIP4VLA = "slava-a-and-v-clip4vla", "clip4vla-retrieval-g2g-clap"


def with_audio(experiment: Experiment, system: str, audio: Clap | ClipAudio) -> Experiment:
    """The same system with another audio tower."""
    return replace(experiment, system=system, model=replace(experiment.model, audio=audio))


SYSTEMS: dict[str, tuple[str, Experiment]] = {
    CLIP4VLA_IN_SLAVA: (
        "SLAVA_A&V with CLIP4VLA's audio tower, frozen; start it from a pretraining.",
        with_audio(slava.SYSTEMS["slava-a-and-v"][1], CLIP4VLA_IN_SLAVA, ClipAudio()),
    ),
    CLAP_IN_CLIP4VLA: (
        "CLIP4VLA's global-to-global retrieval with CLAP's audio tower.",
        with_audio(clip4vla.SYSTEMS["clip4vla-retrieval-g2g"][1], CLAP_IN_CLIP4VLA, Clap()),
    ),
}
