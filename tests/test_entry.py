"""The way into a decorated function, in C++ where it was built and in Python."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref

import pytest

from collage_jax.ffi import entry


@pytest.fixture(params=["built", "in Python"])
def made(request, monkeypatch):
    if request.param == "built":
        pytest.importorskip("collage_jax._entry", reason="the extension was not built")
        yield entry
        return
    monkeypatch.setitem(sys.modules, "collage_jax._entry", None)
    yield importlib.reload(entry)
    monkeypatch.undo()
    importlib.reload(entry)


def taking(made, serve, detoured=None):
    found = type("Found", (made.Entry,), {})()
    found._serve, found._detoured = serve, detoured or (lambda kind, args, kwargs: (kind, args, kwargs))
    return found


def test_a_call_goes_to_serve(made):
    assert taking(made, lambda *args, **kwargs: (args, kwargs))(1, 2, a=3) == ((1, 2), {"a": 3})


def test_a_detour_is_taken_with_its_kind_and_the_call(made):
    kind = type("Kind", (made.Detour,), {})

    def serve(*args, **kwargs):
        raise kind

    assert taking(made, serve)(1, a=2) == (kind, (1,), {"a": 2})
    assert taking(made, serve)() == (kind, (), {})


def test_other_errors_pass_and_errors_of_a_detour_stand_alone(made):
    def serve(kind):
        raise kind("serve")

    def detoured(kind, args, kwargs):
        raise ValueError("detoured")

    found = taking(made, serve, detoured)
    with pytest.raises(KeyError, match="serve"):
        found(KeyError)
    with pytest.raises(ValueError, match="detoured") as raised:
        found(made.Detour)
    assert raised.value.__context__ is None


def test_a_call_may_replace_serve(made):
    def serve():
        found._serve = lambda: "second"
        return "first"

    found = taking(made, serve)
    del serve
    assert [found(), found()] == ["first", "second"]


def test_what_refers_to_itself_is_collected(made):
    found = taking(made, lambda: None)
    found._serve = found.__call__
    gone = weakref.ref(found._detoured)
    del found
    gc.collect()
    assert gone() is None
