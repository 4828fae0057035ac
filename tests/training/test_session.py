import pytest
import torch

from trichord.checkpoint import Run
from trichord.config import Experiment, InfoNCE
from trichord.training.session import Session, optimizer_tensors, restore_optimizer
from trichord.types import UserError


@pytest.fixture
def session(tiny_trimodal, tmp_path):
    run = Run(tmp_path / "run")
    run.start(Experiment(system="x", model=tiny_trimodal), "m")
    return Session(run, tiny_trimodal.build(), InfoNCE().build())


def test_a_better_epoch_is_kept_and_a_worse_one_is_not(session):
    session.after_epoch({"epoch": 0}, 0.5)
    kept = session.best["model.text.head.weight"].clone()
    session.model.text.head.weight.data += 1
    session.after_epoch({"epoch": 1}, 0.4)
    assert torch.equal(session.best["model.text.head.weight"], kept)
    assert (session.progress.best, session.progress.best_epoch) == (0.5, 0)
    session.after_epoch({"epoch": 2}, 0.6)
    assert not torch.equal(session.best["model.text.head.weight"], kept)


def test_the_next_stage_starts_from_the_best_or_from_the_last(session):
    session.after_epoch({}, 0.5)
    before = session.model.text.head.weight.detach().clone()
    session.model.text.head.weight.data += 1
    session.after_stage("last")
    assert not torch.equal(session.model.text.head.weight, before)
    session.after_epoch({}, 0.5)
    session.model.text.head.weight.data += 1
    session.after_stage("best")
    assert torch.equal(session.model.text.head.weight, before + 1)
    assert session.progress.stage == 2
    assert session.best == {}


def test_steps_and_losses_are_counted_within_an_epoch(session, monkeypatch):
    monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", 1e9)
    optimizer = torch.optim.AdamW(session.model.parameters())
    session.after_step(optimizer, 2.0)
    session.after_step(optimizer, 3.0)
    assert (session.progress.step, session.progress.loss) == (2, 5.0)
    assert session.run.saved() is None
    session.after_epoch({}, 0.1)
    assert (session.progress.step, session.progress.loss) == (0, 0.0)


def test_skipped_steps_are_counted_by_epoch_and_in_a_row_over_epochs(session, monkeypatch):
    monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", 1e9)
    optimizer = torch.optim.AdamW(session.model.parameters())

    def counts():
        now = session.progress
        return now.step, now.skipped, now.empty, now.skipped_in_a_row

    session.skip(empty=False)
    session.after_step(optimizer, 0.0)
    session.skip(empty=True)  # says nothing of the weights: the row goes on
    session.after_step(optimizer, 0.0)
    assert counts() == (2, 1, 1, 1)
    session.after_epoch({}, 0.1)
    session.skip(empty=False)
    session.after_step(optimizer, 0.0)
    assert counts() == (1, 1, 0, 2)
    session.take({})
    session.after_step(optimizer, 0.5)
    assert counts() == (2, 1, 0, 0)


def test_a_session_does_not_write_into_a_directory_that_another_training_has_begun_anew(session):
    other = Experiment(system="y", model=session.run.experiment().model)
    session.run.start(other, "m")  # it could: nothing had been saved yet
    with pytest.raises(UserError, match="another training has begun there"):
        session.save(None)
    assert session.run.saved() is None


def test_where_all_epochs_reach_the_same_the_last_goes_on(session):
    for epoch in range(3):
        session.after_epoch({"epoch": epoch, "criterion": 1.0}, 1.0)
        session.model.text.head.weight.data += 1
    last = session.model.text.head.weight.detach().clone()
    session.after_stage("best")
    assert torch.equal(session.model.text.head.weight, last)
    for epoch, criterion in enumerate((0.5, 0.5, 0.4)):
        session.after_epoch({"epoch": epoch, "criterion": criterion}, criterion)
        session.model.text.head.weight.data += 1
    session.after_stage("best")
    assert torch.equal(session.model.text.head.weight, last)


def test_a_scale_beyond_its_bound_is_taken_up_at_the_bound(session, tiny_trimodal):
    with torch.no_grad():  # as an earlier version might have left it
        session.objective.log_scale["at"].fill_(6.0)
    session.save(None)
    again = Session(session.run, tiny_trimodal.build(), InfoNCE().build())
    again.resume(Experiment(system="x"))
    assert again.objective.scales()["at"] == pytest.approx(100.0, rel=1e-6)


def test_a_saved_session_is_taken_up_again(session, tiny_trimodal):
    optimizer = torch.optim.AdamW(session.model.text.head.parameters(), lr=0.1)
    session.model.text.head.weight.sum().backward()
    optimizer.step()
    session.after_epoch({"epoch": 0}, 0.5)
    session.save(optimizer)
    again = Session(session.run, tiny_trimodal.build(), InfoNCE().build())
    again.resume(Experiment(system="x"))
    assert again.progress == session.progress
    assert torch.equal(again.model.text.head.weight, session.model.text.head.weight)
    fresh = torch.optim.AdamW(again.model.text.head.parameters(), lr=0.1)
    again.adopt(fresh)
    one, other = optimizer_tensors(optimizer), optimizer_tensors(fresh)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_optimizer_goes_on_as_if_it_had_never_stopped():
    def step(parameter, optimizer, number):
        (parameter * number).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    whole = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([whole], lr=0.1, fused=True)
    for number in (1.0, 2.0, 3.0):
        if number == 3.0:
            cut = torch.nn.Parameter(whole.detach().clone())
            held = optimizer_tensors(optimizer)
        step(whole, optimizer, number)
    second = torch.optim.AdamW([cut], lr=0.1, fused=True)
    restore_optimizer(second, held)
    step(cut, second, 3.0)
    assert torch.equal(cut, whole)
