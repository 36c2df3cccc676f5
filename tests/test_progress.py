"""Work is reported to whoever listens, and to nobody else."""

from __future__ import annotations

import threading

import pytest

from mergeward.progress import listen, track


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def start(self, label: str, total: int, unit: str) -> int:
        self.events.append(("start", label, total, unit))
        return len(self.events)

    def advance(self, handle: int, amount: int, note: str) -> None:
        self.events.append(("advance", handle, amount, note))

    def finish(self, handle: int) -> None:
        self.events.append(("finish", handle))


def test_steps_are_reported_with_their_notes() -> None:
    recorder = Recorder()
    with listen(recorder):
        steps = track("ab", "spell")
        for letter in steps:
            steps.note = f"at {letter}"
    assert recorder.events == [
        ("start", "spell", 2, "steps"),
        ("advance", 1, 1, "at a"),
        ("advance", 1, 1, "at b"),
        ("finish", 1),
    ]


def test_work_may_be_told_in_bytes() -> None:
    recorder = Recorder()
    with listen(recorder):
        assert list(track(["ab", "", "cde"], "read", nbytes=len)) == ["ab", "", "cde"]
    assert recorder.events == [
        ("start", "read", 5, "bytes"),
        ("advance", 1, 2, ""),
        ("advance", 1, 0, ""),
        ("advance", 1, 3, ""),
        ("finish", 1),
    ]


def test_nobody_listens_by_default_or_afterwards() -> None:
    recorder = Recorder()
    assert list(track(range(3), "count")) == [0, 1, 2]
    with listen(recorder):
        pass
    assert list(track(range(3), "count")) == [0, 1, 2]
    assert recorder.events == []


def test_work_that_fails_is_finished() -> None:
    recorder = Recorder()

    def work() -> None:
        for step in track(range(3), "fail"):
            if step == 1:
                raise KeyError(step)

    with listen(recorder), pytest.raises(KeyError):
        work()
    assert recorder.events == [("start", "fail", 3, "steps"), ("advance", 1, 1, ""), ("finish", 1)]


def test_a_listener_is_let_go_when_its_block_fails() -> None:
    recorder = Recorder()
    with pytest.raises(KeyError), listen(recorder):
        raise KeyError
    list(track(range(1), "later"))
    assert recorder.events == []


def test_the_innermost_listener_hears() -> None:
    outer, inner = Recorder(), Recorder()
    with listen(outer):
        with listen(inner):
            list(track(range(1), "in"))
        list(track(range(1), "out"))
    assert outer.events[0] == ("start", "out", 1, "steps")
    assert inner.events[0] == ("start", "in", 1, "steps")
    assert len(outer.events) == len(inner.events) == 3


def test_another_thread_has_listeners_of_its_own() -> None:
    recorder = Recorder()
    with listen(recorder):
        thread = threading.Thread(target=lambda: list(track(range(1), "elsewhere")))
        thread.start()
        thread.join()
    assert recorder.events == []
