import numpy as np
import pytest

from trichord.api import lancedb as ours
from trichord.api.model import Model

lancedb = pytest.importorskip("lancedb", reason="LanceDB is not installed: pip install lancedb")


@pytest.fixture
def model(tiny_model, monkeypatch):
    with Model("tiny", tiny_model, workers=1) as one:
        monkeypatch.setattr(ours, "_loaded", lambda run, device: one)
        yield one


@pytest.mark.parametrize("modality", ["vision", "audio"])
def test_a_table_embeds_its_files_and_finds_them_by_words_and_by_example(
    modality, model, folder, tmp_path
):
    from lancedb.pydantic import LanceModel, Vector

    sight = ours.Trichord.create(run="tiny", modality=modality)

    class Video(LanceModel):
        path: str = sight.SourceField()
        vector: Vector(sight.ndims(), nullable=True) = sight.VectorField()

    names = ["clip.mp4", "still.png", "beep.wav", "broken.mp4"]
    table = lancedb.connect(tmp_path).create_table("videos", schema=Video)
    table.add([{"path": str(folder / name)} for name in names], on_bad_vectors="null")
    rows = {row["path"].rpartition("/")[2]: row["vector"] for row in table.to_arrow().to_pylist()}
    embed = model.embed_vision if modality == "vision" else model.embed_audio
    has = {"clip.mp4", "still.png"} if modality == "vision" else {"clip.mp4", "beep.wav"}
    assert {name for name, vector in rows.items() if vector is not None} == has
    for name in has:
        np.testing.assert_allclose(rows[name], embed([folder / name])[0], atol=1e-6)
    said = model.embed_text(["a low bell"], modality)[0]
    nearest = max(has, key=lambda name: said @ np.array(rows[name]))
    found = table.search("a low bell").metric("dot").limit(1).to_list()
    assert found[0]["path"].endswith(nearest)
    example = table.search(folder / "clip.mp4").limit(1).to_list()
    assert example[0]["path"].endswith("clip.mp4")
