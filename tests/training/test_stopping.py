import os
import signal
import threading

import pytest

from trichord.training.stopping import TerminatedError, stop, stoppable


def test_signals_are_noted_within_and_obeyed_without():
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with stoppable() as request:
        assert request.signal == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGTERM  # the first one counts
    assert {one: signal.getsignal(one) for one in before} == before


def test_whoever_interrupts_again_after_a_while_does_not_wait_any_longer(monkeypatch):
    with stoppable() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a launcher passes on what the terminal sends anyway
        monkeypatch.setattr("trichord.training.stopping.PATIENCE", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == signal.SIGINT


def test_each_signal_ends_the_process_as_a_shell_expects_it():
    with pytest.raises(TerminatedError) as ended:
        stop(signal.SIGTERM)
    assert ended.value.code == 143
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_to_whoever_is_there():
    found = []

    def work():
        with stoppable() as request:
            found.append((request.signal, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(0, before)]
