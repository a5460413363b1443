"""Trackers see a run and change nothing of it."""

import pytest
from driving import fresh, losses_of, sweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mixlang.errors import StageError
from mixlang.spec.schema import Launch
from runners.train.pretrain import train_run
from runners.train.tracking import Tracking


@pytest.fixture
def run(study):
    return min(study[0].runs, key=lambda item: item.budget)


def test_tensorboard_shows_the_curve_and_changes_nothing(study, run, tmp_path):
    tracked, plain = fresh(study, tmp_path / "tracked"), fresh(study, tmp_path / "plain")
    sweep(study, tracked, [run]).execute()
    sweep(study, plain, [run], tracker="none").execute()
    results = [store.result(run.key) for store in (tracked, plain)]
    assert losses_of(study[0], tracked, run) == losses_of(study[0], plain, run)
    assert not (plain.folder(run.key) / "logs").exists()
    (folder,) = (tracked.folder(run.key) / "logs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    shown = [[event.step, event.value] for event in events.Scalars("loss")]
    assert shown == [pytest.approx(entry) for entry in results[0]["curve"]]
    assert events.Scalars("learning_rate")[0].value == pytest.approx(5e-3 / 5)


def test_a_tracker_that_is_not_there_is_named_before_training(study, run, tmp_path):
    with pytest.raises(StageError, match=r"tracker 'aim' is not installed.*found: .*tensorboard"):
        train_run(study[0], run, fresh(study, tmp_path).root, Launch(tracker="aim"), None)


def test_a_tracker_that_fails_is_given_up_aloud(run, capsys):
    class Accelerator:
        log_with = ("broken",)
        calls = 0

        def init_trackers(self, name, config):
            pass

        def log(self, values, step):
            self.calls += 1
            raise ConnectionError("no network")

    broken = Accelerator()
    tracking = Tracking(broken, run, {})
    tracking.log(8, {"loss": 1.0})
    tracking.log(16, {"loss": 0.9})
    assert broken.calls == 1
    assert capsys.readouterr().err.count("no network") == 1
