"""An engine of regorus may be dropped by no thread but its own, and Python's collector works in whichever."""

import gc
import sys
import threading

from registry import rego


def engine_in_a_circle():
    """Leave an engine that only the collector can find."""
    circle = [rego.Engine({"a.rego": "package a\nallow := true"})]
    circle.append(circle)


def elsewhere(do):
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


def test_an_engine_that_another_thread_collects_is_dropped_by_its_own(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: said.append(str(raised.exc_value)))
    gc.collect()
    engine_in_a_circle()
    elsewhere(gc.collect)
    mine = threading.get_ident()
    assert len(rego._strays[mine]) == 1
    elsewhere(lambda: rego.Engine({}))
    assert len(rego._strays[mine]) == 1
    rego.Engine({})
    assert mine not in rego._strays
    gc.collect()
    assert said == []
