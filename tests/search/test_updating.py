from trichord.search import updating
from trichord.search.backdrop import calibrate_for
from trichord.search.collection import Collection
from trichord.search.table import MomentTable
from trichord.search.updating import settle


def test_scales_are_measured_on_some_moments_and_never_on_all(collection, tiny_model, monkeypatch):
    """After each burst of watched files: a large collection must not be loaded for it."""
    most, measured = 4, []

    def noted(model, gallery):
        measured.append(gallery)
        return calibrate_for(model, gallery)

    def refused(*given):
        raise AssertionError("the whole gallery was loaded")

    collection.table.put(collection.table.read(list(collection.table.files())))
    assert not collection.calibrated
    monkeypatch.setattr(updating, "MOMENTS", most)
    monkeypatch.setattr(updating, "calibrate_for", noted)
    monkeypatch.setattr(MomentTable, "gallery", refused)
    settle(collection, tiny_model)
    assert [len(gallery) for gallery in measured] == [most]
    assert collection.calibrated
    settle(collection, tiny_model)
    assert len(measured) == 1


def test_few_moments_are_all_measured(collection, tiny_model):
    there = Collection.open(collection.path)
    assert there.description.calibration == calibrate_for(tiny_model, there.table.gallery())


def test_what_comes_while_scales_are_measured_is_measured_next(collection, tiny_model, monkeypatch):
    other = Collection.open(collection.path)
    [file, *_] = other.table.read(list(other.table.files()))

    def meanwhile(model, gallery):
        measured.append(other.table.version)
        if len(measured) == 1:
            other.table.put([file])
        return calibrate_for(model, gallery)

    measured = []
    collection.table.put([file])
    monkeypatch.setattr(updating, "calibrate_for", meanwhile)
    settle(collection, tiny_model)
    assert collection.description.calibrated == measured[0] < other.table.version
    assert not collection.calibrated
    settle(collection, tiny_model)
    assert len(measured) == 2
    assert collection.calibrated
