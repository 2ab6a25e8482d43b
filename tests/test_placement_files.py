"""Placements as files: what is written comes back, what is damaged or foreign is told apart, what differs is shown."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import MISSING, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.candidates import Refusal
from collage_jax.costs import STAGES, Estimated, Failed, Measured
from collage_jax.placement import Place, PlacedRegion, Placement
from collage_jax.report import files
from collage_jax.report.difference import changes, difference
from collage_jax.report.files import from_json, load, save, to_json

BACKENDS = ("xla", "fake", "other", "<b>", 'quo"te\\')
AWKWARD = ("", "relu", "</script><script>alert(1)</script>", 'a"b\\n{}&amp;<i>', "\u00e9\u4e2d\U0001f600", "a\nb\tc\0d")

texts = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=6))
times = st.floats(0, 1e9, allow_nan=False)
errors = st.none() | times
measured = st.builds(Measured, times, times, st.integers(0, 40), errors, texts, st.booleans())
estimated = st.builds(Estimated, times, note=texts)
costs = st.one_of(measured, estimated, st.builds(Failed, st.sampled_from(STAGES), texts))
mappings = st.dictionaries(texts, texts, max_size=3)


@st.composite
def graphs(draw: Any, name: str = "", depth: int = 0) -> dict[str, tuple[int, tuple[tuple[int, int], ...]]]:
    """Graphs by name, each as its number of nodes and its edges; some nodes have bodies, which are graphs too."""
    size = draw(st.integers(0, 8 if not depth else 3))
    pairs = st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted).map(tuple)
    edges = {(a, b) for a, b in draw(st.lists(pairs, max_size=14)) if a < b < size}
    found = {name: (size, tuple(sorted(edges)))}
    for node in draw(st.sets(st.integers(0, max(size - 1, 0)), max_size=2)) if size and depth < 2 else ():
        for number in range(draw(st.integers(1, 2))):
            found |= draw(graphs(f"{name}/{node}.branches.{number}".lstrip("/"), depth + 1))
    return found


@st.composite
def placements(draw: Any) -> Placement:
    """Placements of such graphs: each node that has no bodies is in one region, or in none."""
    drawn = draw(graphs())
    holders = {tuple(name.rpartition("/")[::2]) for name in drawn if name}
    busy = {(around, int(last.partition(".")[0])) for around, last in holders}
    regions: list[PlacedRegion] = []
    for name, (size, _) in drawn.items():
        free = [node for node in range(size) if (name, node) not in busy]
        while free and draw(st.integers(0, 9)):
            nodes = tuple(sorted(draw(st.sets(st.sampled_from(free), min_size=1, max_size=3))))
            free = [node for node in free if node not in nodes]
            regions.append(_region(draw, tuple(f"op{node}" for node in nodes), (Place(name, nodes),)))
    if draw(st.booleans()):
        regions.append(replace(_region(draw, ("far",), ()), count=draw(st.integers(1, 3))))
    return Placement(
        regions=tuple(regions),
        refusals=tuple(draw(st.lists(st.builds(Refusal, st.tuples(texts), texts, texts), max_size=3))),
        predicted_us=draw(errors),
        measured_us=draw(st.none() | st.floats(0.1, 1e9)),
        xla_us=draw(st.none() | st.floats(0.1, 1e9)),
        error=draw(errors),
        tuning_s=draw(times),
        distinct_measured=draw(st.integers(0, 99)),
        unavailable=draw(st.none() | mappings),
        notes=tuple(draw(st.lists(texts, max_size=3))),
        uncorrected_us=draw(errors),
        is_final=draw(st.booleans()),
        budget_s=draw(st.floats(0, 1e6)),
        program=draw(texts),
        edges={name: edges for name, (_, edges) in drawn.items()},
        environment=draw(mappings),
    )


def _region(draw: Any, ops: tuple[str, ...], places: tuple[Place, ...]) -> PlacedRegion:
    alternatives = st.dictionaries(st.sampled_from(BACKENDS), costs, max_size=3)
    backend, label = draw(st.sampled_from(BACKENDS)), draw(texts)
    return PlacedRegion(backend, ops, label, draw(costs), draw(alternatives), draw(texts), 1, draw(texts), places)


def region(backend: str, *nodes: int, us: float = 5.0, key: str = "", graph: str = "") -> PlacedRegion:
    """A region of operations ``op0``, ``op1``, ... at one place."""
    ops = tuple(f"op{node}" for node in nodes)
    return PlacedRegion(backend, ops, "+".join(ops), Measured(us), {}, "f -> f", 1, key, (Place(graph, nodes),))


#: Every field differs from its default.
FULL = Placement(
    regions=(
        PlacedRegion(
            "fake",
            ("dot_general", "tanh"),
            "dot+tanh",
            Measured(1.5, 0.25, 7, 1e-7, "a note", recalled=True),
            {"xla": Measured(9.0, runs=3), "other": Failed("verify", "differs by 1.0")},
            "float32[3, 4] -> float32[3, 4]",
            2,
            "k1",
            (Place("", (0, 2)), Place("3.branches.1/0.jaxpr.0", (0, 1))),
        ),
        PlacedRegion("xla", ("exp",), "exp", Failed("budget", "not measured"), {}, "", 1, "k2", (Place("", (1,)),)),
    ),
    refusals=(Refusal(("a", "b"), "fake", "too small"), Refusal((), "broken", "`propose` failed")),
    predicted_us=11.0,
    measured_us=12.5,
    xla_us=31.25,
    error=2e-7,
    tuning_s=3.5,
    distinct_measured=4,
    unavailable={"gone": "no library"},
    notes=("one", "two"),
    uncorrected_us=10.0,
    is_final=False,
    budget_s=12.5,
    program="9f3b2c",
    edges={"": ((0, 1), (1, 2), (2, 3)), "3.branches.1": (), "3.branches.1/0.jaxpr.0": ((0, 1),)},
    environment={"device": "cpu x2", "jaxlib": "0.10.2"},
)


def document() -> dict[str, Any]:
    return json.loads(to_json(FULL))


def defaults_kept(one: Any) -> list[str]:
    """Fields of a dataclass that have their default."""
    made = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(one)}
    return [name for name, default in made.items() if getattr(one, name) == default]


def test_every_field_comes_back(tmp_path):
    assert not any(defaults_kept(one) for one in (FULL, FULL.regions[0], FULL.regions[0].cost))
    FULL.save(tmp_path / "placement.json")
    back = Placement.load(tmp_path / "placement.json")
    assert back == FULL
    cost = back.regions[0].cost
    assert isinstance(cost, Measured) and cost.recalled  # which `==` does not see
    assert back.to_json() == FULL.to_json()


@given(placements())
def test_what_is_written_comes_back(placement):
    assert from_json(to_json(placement)) == placement


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_failure_comes_back(stage):
    placement = Placement((replace(FULL.regions[0], cost=Failed(stage, "why")),))
    assert from_json(to_json(placement)) == placement


def test_numbers_of_numpy_and_read_only_mappings_are_written():
    odd = replace(
        FULL, measured_us=np.float32(2.5), distinct_measured=np.int64(3), environment=MappingProxyType({"a": "b"})
    )
    assert from_json(to_json(odd)) == replace(FULL, measured_us=2.5, distinct_measured=3, environment={"a": "b"})


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    path = tmp_path / "placement.json"
    with pytest.raises(ValueError, match=r"numbers must be finite, got NaN"):
        save(replace(FULL, measured_us=float("nan")), path)
    with pytest.raises(ValueError, match=r"regions\[0\].cost.stage must be one of .*, got 'other'"):
        save(Placement((replace(FULL.regions[0], cost=Failed("other", "why")),)), path)
    with pytest.raises(ValueError, match="must hold text, numbers and mappings"):
        save(replace(FULL, program=object()), path)
    assert not list(tmp_path.iterdir())


def test_files_have_a_line_for_each_region():
    lines = to_json(FULL).splitlines()
    assert sum('"backend": "fake"' in line and '"ops"' in line for line in lines) == 2  # a region and a refusal


MISREAD = {
    "another kind": (("kind",), "other", r"kind must be 'collage_jax placement', got 'other'"),
    "a newer format": (("format",), 2, r"format must be 1 or older, got 2: a newer collage_jax wrote it; update"),
    "no format": (("format",), "1", r"format must be a whole number of 1 or more, got '1'"),
    "text for a list": (("notes",), "no", r"notes must be a list, got 'no'"),
    "a list for an object": (("environment",), [], r"environment must be an object, got \[\]"),
    "a number for text": (("notes", 1), 7, r"notes\[1\] must be a string, got 7"),
    "a number for a truth": (("is_final",), 1, r"is_final must be true or false, got 1"),
    "a truth for a number": (("tuning_s",), True, r"tuning_s must be a finite number of 0 or more, got True"),
    "a truth for a count": (("distinct_measured",), True, r"distinct_measured must be a whole number"),
    "a fraction for a count": (("distinct_measured",), 1.5, r"distinct_measured must be a whole number"),
    "a negative time": (("regions", 0, "cost", "median_us"), -1, r"regions\[0\].cost.median_us must be a finite"),
    "an endless time": (("predicted_us",), 10**400, r"predicted_us must be a finite number"),
    "no time at all": (("measured_us",), 0, r"measured_us must be a number above 0, got 0"),
    "an unknown cost": (
        ("regions", 0, "cost", "status"),
        "maybe",
        r"status must be 'measured', 'estimated' or 'failed'",
    ),
    "an unknown stage": (
        ("regions", 0, "alternatives", "other", "stage"),
        "magic",
        r"regions\[0\].alternatives\['other'\].stage must be one of supports, compile",
    ),
    "no region at all": (("regions", 0, "count"), 0, r"count must be a whole number of 1 or more, got 0"),
    "too few places": (("regions", 0, "count"), 3, r"regions\[0\].count must be the number of its places, 2, got 3"),
    "a negative place": (("regions", 0, "places", 0, "nodes", 0), -1, r"nodes\[0\] must be a whole number of 0"),
    "too few nodes": (("regions", 0, "places", 0, "nodes"), [0], r"places of as many nodes as there are ops, 2"),
    "disordered nodes": (("regions", 0, "places", 0, "nodes"), [2, 0], r"nodes must be in ascending order"),
    "a node twice": (("regions", 1, "places", 0, "nodes"), [2], r"node 2 of graph '' in regions\[0\].places\[0\] and"),
    "a strange graph": (("regions", 0, "places", 0, "graph"), "../../etc", r"graph must be '' for the program itself"),
    "a strange graph of edges": (("edges",), {"7": []}, r"edges must be an object with names that are ''"),
    "an edge of one end": (("edges", "", 0), [1], r"edges\[''\]\[0\] must be the places of two nodes"),
    "an edge upwards": (("edges", "", 0), [1, 0], r"the earlier first, got \[1, 0\]"),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_breaks_a_rule_is_refused_with_file_place_value_and_remedy(case, tmp_path):
    (*way, last), value, message = MISREAD[case]
    changed = document()
    holder = changed
    for step in way:
        holder = holder[step]
    holder[last] = value
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(changed), "utf8")
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert case == "a newer format" or "give a file that Placement.save wrote" in str(caught.value)


def objects(value: Any) -> list[dict[str, Any]]:
    """All objects with members of fixed names in a document."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [one for part in inside for one in objects(part)]
    return [value, *found] if isinstance(value, dict) else found


FREE_NAMES = ("alternatives", "unavailable", "edges", "environment")


def fixed(whole: dict[str, Any]) -> list[dict[str, Any]]:
    free = [one[name] for one in objects(whole) for name in FREE_NAMES if name in one]
    return [one for one in objects(whole) if not any(one is other for other in free)]


def test_no_member_may_be_missing():
    for number, one in enumerate(fixed(document())):
        for name in one:
            changed = document()
            del fixed(changed)[number][name]
            with pytest.raises(ValueError, match=f"must have the member '{name}'"):
                from_json(json.dumps(changed))


def test_members_that_this_version_does_not_know_are_passed_over():
    changed = document()
    for one in fixed(changed):
        one["later"] = {"__class__": "os.system", "py/object": ["rm"]}
    assert from_json(json.dumps(changed)) == FULL


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@given(st.data())
def test_a_file_changed_anywhere_is_a_placement_or_refused(data):
    changed = document()
    holder: Any = data.draw(st.sampled_from([one for one in objects(changed) if one]))
    name = data.draw(st.sampled_from(sorted(holder)))
    if isinstance(holder[name], list) and holder[name] and data.draw(st.booleans()):
        holder, name = holder[name], data.draw(st.integers(0, len(holder[name]) - 1))
    holder[name] = data.draw(PARTS)
    found = placement_or_complaint(json.dumps(changed))
    if isinstance(found, Placement):
        assert from_json(to_json(found)) == found
    else:
        assert found.startswith("this text: ")  # no stray ValueError


def placement_or_complaint(text: str) -> Placement | str:
    try:
        return from_json(text)
    except ValueError as refused:
        return str(refused)


@given(st.integers(0, len(to_json(FULL)) - 3))
def test_a_file_cut_short_is_refused(length):
    with pytest.raises(ValueError, match="this text: must be JSON"):
        from_json(to_json(FULL)[:length])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the document must be an object, got"),
        ('{"kind": NaN}', "numbers must be finite, got NaN"),
        ('{"kind": -Infinity}', "numbers must be finite, got -Infinity"),
        ('{"kind": 1, "kind": 2}', "must name each member once, got 'kind' twice"),
        ("[" * 200_000, "deep inside each other|must be JSON"),
        (f'{{"kind": {"9" * 5000}}}', "must be JSON"),
    ],
)
def test_what_is_no_such_document_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_json(text)


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(ValueError, match="predicted_us must be a finite number"):
        from_json(to_json(FULL).replace('"predicted_us": 11.0', '"predicted_us": 1e999'))


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        load(path)
    save(FULL, path)
    monkeypatch.setattr(files, "LARGEST_BYTES", 100)
    with pytest.raises(ValueError, match="must have at most 0 MiB, got more"):
        load(path)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError):
        save(FULL, tmp_path / "no folder" / "placement.json")


@pytest.mark.parametrize("stop", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, stop):
    path = tmp_path / "placement.json"
    save(FULL, path)

    def fail(fileno: int) -> None:
        raise stop

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(stop)):
        save(replace(FULL, program="another"), path)
    assert load(path) == FULL
    assert [found.name for found in tmp_path.iterdir()] == ["placement.json"]


def test_a_save_follows_links_and_gives_the_usual_rights(tmp_path):
    (tmp_path / "real").mkdir()
    link, target = tmp_path / "link.json", tmp_path / "real" / "placement.json"
    link.symlink_to(target)
    save(FULL, link)
    assert link.is_symlink()
    assert load(target) == FULL
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


# What two placements decide otherwise.


def kinds(first: Placement, second: Placement) -> list[tuple[str, int]]:
    return [(change.kind, change.count) for change in changes(first, second)]


@given(placements())
def test_a_placement_does_not_differ_from_itself_whatever_the_times(placement):
    later = tuple(replace(r, cost=Measured(1.0), alternatives={}) for r in placement.regions)
    assert difference(placement, placement) == ""
    assert difference(placement, replace(placement, regions=later, xla_us=3.0, measured_us=1.0, notes=("x",))) == ""


def covers(backends: tuple[str, ...]) -> st.SearchStrategy[Placement]:
    """Placements that divide six nodes in a row among ``backends``."""
    cuts = st.lists(st.booleans(), min_size=5, max_size=5)
    names = st.lists(st.sampled_from(backends), min_size=6, max_size=6)

    def build(cut: list[bool], name: list[str]) -> Placement:
        groups: list[list[int]] = [[0]]
        for node in range(1, 6):
            if cut[node - 1]:
                groups.append([node])
            else:
                groups[-1].append(node)
        return Placement(tuple(region(name[group[0]], *group) for group in groups))

    return st.builds(build, cuts, names)


@given(covers(("xla", "fake", "other")), covers(("xla", "fake", "other")))
def test_placements_differ_where_a_node_is_run_otherwise(first, second):
    def runs(placement: Placement) -> dict[int, Any]:
        parts = [(node, r) for r in placement.regions for node in r.places[0].nodes]
        return {node: r.backend if r.backend == "xla" else (r.backend, r.places) for node, r in parts}

    assert (difference(first, second) == "") == (runs(first) == runs(second))
    assert len(kinds(first, second)) == len(kinds(second, first))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([region("fake", 0, 1)], [region("other", 0, 1)], "moved"),
        ([region("fake", 0, 1)], [region("fake", 0), region("fake", 1)], "split"),
        ([region("fake", 0), region("other", 1)], [region("fake", 0, 1)], "merged"),
        ([region("fake", 0, 1), region("fake", 2)], [region("fake", 0), region("fake", 1, 2)], "divided otherwise"),
        ([region("xla", 0), region("xla", 1)], [region("fake", 0, 1)], "left XLA"),
        ([], [region("fake", 0, 1)], "left XLA"),
        ([region("fake", 0, 1)], [], "back to XLA"),
    ],
)
def test_what_happened_to_a_region_is_named(before, after, kind):
    first, second = Placement(tuple(before)), Placement(tuple(after))
    assert kinds(first, second) == [(kind, 1)]
    assert kind in difference(first, second)


def test_how_xla_fuses_its_operations_is_no_difference():
    assert difference(Placement((region("xla", 0), region("xla", 1))), Placement(())) == ""


def test_equal_changes_are_counted_and_the_largest_come_first():
    first = Placement((region("xla", 0, us=9.0), region("xla", 1, us=9.0), region("xla", 2, us=99.0)))
    second = Placement((region("fake", 0, us=2.0), region("fake", 1, us=2.0), region("fake", 2, us=9.0)))
    same = tuple(replace(r, ops=("relu",)) for r in first.regions[:2])
    others = tuple(replace(r, ops=("relu",)) for r in second.regions[:2])
    first, second = (
        replace(first, regions=(*same, first.regions[2])),
        replace(second, regions=(*others, second.regions[2])),
    )
    assert kinds(first, second) == [("left XLA", 1), ("left XLA", 2)]
    row = next(line for line in difference(first, second).splitlines() if "relu" in line)
    assert [cell.strip() for cell in row.split("\u2502")[1:-1]] == [
        "left XLA",
        "xla: relu",
        "9.0",
        "fake: relu",
        "2.0",
        "2",
    ]


def test_a_time_that_is_known_in_part_says_so():
    first = Placement((region("fake", 0, 1, us=7.0),))
    untimed = replace(region("xla", 1), cost=Measured(0.0, runs=0))
    assert "7.0" in difference(first, Placement(()))
    assert "3.0 + ?" in difference(first, Placement((region("xla", 0, us=3.0), untimed)))


def test_regions_in_bodies_are_told_from_those_around_them():
    first = Placement((region("fake", 0), region("xla", 0, graph="1.jaxpr.0")))
    second = Placement((region("fake", 0), region("fake", 0, graph="1.jaxpr.0")))
    assert kinds(first, second) == [("left XLA", 1)]


def test_regions_without_places_are_matched_by_key_and_number():
    placeless = replace(region("fake", 0, key="k"), places=(), count=3)
    one = replace(placeless, count=1), replace(placeless, backend="other", count=2)
    assert difference(Placement((placeless,)), Placement((placeless,))) == ""
    assert kinds(Placement((placeless,)), Placement(one)) == [("moved", 2)]


def test_another_program_is_said_first_and_its_regions_are_matched_by_key():
    first = Placement((region("fake", 0, key="k1"), region("fake", 1, key="k2")), program="p" * 64)
    second = Placement((region("other", 4, key="k1"), region("fake", 0, key="k3")), program="q" * 64)
    text = difference(first, second)
    assert text.startswith(f"Two different programs ({'p' * 12} and {'q' * 12})")
    assert sorted(kinds(first, second)) == [("moved", 1), ("only in first", 1), ("only in second", 1)]
    assert difference(first, replace(first, program="r" * 64)).startswith("Two different programs")


def test_another_environment_is_named():
    first = Placement((region("fake", 0),), environment={"jaxlib": "0.10.2", "device": "cpu"})
    second = replace(first, environment={"jaxlib": "0.12.0", "device": "cpu"}, unavailable={"other": "no library"})
    text = difference(first, second)
    assert "jaxlib: 0.10.2 in the first, 0.12.0 in the second" in text
    assert "other was not available for the second: no library" in text
    assert "device" not in text
    assert "All regions are placed alike." in text


def test_whole_programs_stand_beside_each_other():
    first = Placement((region("fake", 0),), measured_us=10.0, xla_us=25.0)
    text = " ".join(first.diff(Placement((region("xla", 0),), xla_us=26.0)).split())
    assert "10.0 us beside jax.jit's 25.0 us, 2.50x, in the first, jax.jit's 26.0 us in the second" in text
