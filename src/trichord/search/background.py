"""Background queries: texts about nothing in particular, by which a collection's scores are calibrated."""

import numpy as np

from trichord.search.calibration import Calibration, calibrate
from trichord.search.gallery import Gallery
from trichord.search.query_vectors import TextVectors

# These English sentences define what counts as unrelated. A collection stores the scales measured with
# them: changing one changes the scores of collections that are indexed later.
_VISUAL = (
    "a person walks along a street", "two people talk at a table", "a close view of a face",
    "children play in a yard", "an empty room with a window", "cars on a road at night",
    "a dog runs over grass", "a cat lies on a sofa", "birds sit on a wire", "a horse in a field",
    "mountains under a blue sky", "waves on a beach", "a river in a forest", "snow on rooftops",
    "a city from above", "a train at a platform", "an aeroplane in the sky", "a boat on a lake",
    "hands that prepare food", "a plate of fruit", "flowers in a vase", "a page of text",
    "a drawing on paper", "a computer screen", "a crowd before a stage", "a man with a guitar",
    "a game of football", "a factory hall", "tools on a bench", "a black picture",
)  # fmt: skip
_AUDIO = (
    "a man speaks calmly", "a woman tells a story", "a child laughs", "a crowd cheers and claps",
    "someone coughs", "footsteps on gravel", "a door closes", "a knock on wood", "a bell rings",
    "a telephone rings", "a clock ticks", "a dog barks", "a cat meows", "birds sing",
    "insects chirp", "rain falls on a roof", "thunder far away", "wind in the trees",
    "water runs from a tap", "waves break", "an engine idles", "a car passes by", "a siren comes nearer",
    "a train rolls past", "a machine hums", "a hammer strikes metal", "glass breaks",
    "a piano plays slowly", "drums and a bass guitar", "near silence with some hiss",
)  # fmt: skip
BACKGROUND_QUERIES = _VISUAL + _AUDIO


def calibrate_by(texts: TextVectors, gallery: Gallery) -> Calibration:
    """Calibrate a collection with the background queries and its own pictures and sounds."""
    return calibrate(
        gallery,
        # All of them for both modalities: a search compares its text with both.
        np.stack(texts.of(BACKGROUND_QUERIES, "vision")),
        np.stack(texts.of(BACKGROUND_QUERIES, "audio")),
        comparable=texts.model.comparable,
    )
