"""Values that travel between the parent and the sandbox, and their comparison."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest

from benchmarks.sandbox import Job, Opaque, Sandbox, allow_weak, matches
from benchmarks.sandbox.values import MAX_COLLISIONS, NotPlain, decode, encode


@pytest.fixture(scope="module")
def sandbox():
    allow_weak()  # the programs here are known
    with Sandbox(workers=1) as box:
        yield box
    allow_weak(False)


PLAIN = [
    None, True, False, 0, -1, 2**63, -(2**64), 2**14000, 0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, 1 + 2j,
    "", "\0\n\x7f", "\U0001f600 \u00e9", "\ud83d", "\ud83d\ude00", b"\x00\xff", [], (), {}, set(), frozenset(),
    [1, 1.0, True, None], (1, [2, (3,)]), {1: "a", (1, 2): [3], None: {}, "k": {"l": b""}}, {1, (2,), frozenset({4})},
    ["l", "t"], ["o", "x"],
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN)
def test_values_survive_the_round_trip(sandbox: Sandbox, value: object) -> None:
    (outcome,) = sandbox.run([Job("def f(x): return x", "f", ((value,),))])
    if type(value) is not set:  # whose order may change
        assert repr(outcome.values[0]) == repr(value)
    assert matches(outcome.values[0], value)


MALFORMED = [[], [5], ["?"], ["i", 5], ["d", [1]], ["S", ["l"]], ["u", ["a"]], ["b", "zz"], {}, math.nan]


@pytest.mark.parametrize("form", MALFORMED)
def test_malformed_values_are_refused(form: object) -> None:
    with pytest.raises(ValueError, match=r"encoded|tag|hex|unpack"):
        decode(form)


def test_nan_and_limits_of_the_encoding() -> None:
    assert math.isnan(decode(encode(math.nan)))
    with pytest.raises(NotPlain, match="size"):
        encode([0] * 10, max_size=10)
    with pytest.raises(NotPlain, match="Pair"):
        encode(namedtuple("Pair", "a b")(1, 2))


@pytest.mark.parametrize("value", [Counter("aab"), OrderedDict(a=2, b=1), defaultdict(int, a=2, b=1)])
def test_dictionaries_of_the_library_travel_as_dict(value: dict) -> None:
    assert decode(encode(value)) == {"a": 2, "b": 1}


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
def test_members_of_one_hash_are_refused_before_they_take_quadratic_time(kind: str) -> None:
    """Integers that are equal modulo the prime of Python's hash all collide."""
    forged = {"set": "S", "frozenset": "F"}.get(kind)
    number = [["i", hex(i * (2**61 - 1))] for i in range(100_000)]
    form = [forged, *number] if forged else ["d", *([n, 0] for n in number)]
    begin = time.monotonic()
    with pytest.raises(ValueError, match="hashes"):
        decode(form)
    assert time.monotonic() - begin < 5
    few = decode([form[0], *form[1 : MAX_COLLISIONS + 1]])
    assert len(few) == MAX_COLLISIONS


EQUAL = [
    (1, 1), (1, 1.0), (1.0, 1), (True, True), (0.1 + 0.2, 0.3), (math.inf, math.inf), ([1, 2], [1, 2]), ("a", "a"),
    ([1, [0.1 + 0.2]], [1, [0.3]]), (None, None), ({1: 0.1 + 0.2}, {1: 0.3}), ({1: 2}, {1.0: 2}), ({1, 2}, {2, 1}),
]  # fmt: skip
DIFFERENT = [
    (1, 2), (True, 1), (1, True), (0.3001, 0.3), (1e-12, 0.0), (10**400, 1e308), (2**53 + 1, 2**53), (1 + 0j, 1),
    (math.inf, -math.inf), (math.nan, math.nan), ([math.nan], [math.nan]), ({math.nan}, {math.nan}), ([1, 2], (1, 2)),
    ([1], [1, 2]), ("a", b"a"), (None, 0), (0, False), ("", None), ({1: 2}, {True: 2}), ({1: 2}, {1: 2, 3: 4}),
    ({1}, {True}), ({1}, frozenset({1})), ({(1, True)}, {(1, 1)}), (Opaque("x"), Opaque("x")), ([Opaque("x")], [5]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), EQUAL)
def test_values_that_match(value: object, expected: object) -> None:
    assert matches(value, expected) is True


@pytest.mark.parametrize(("value", "expected"), DIFFERENT)
def test_values_that_do_not_match(value: object, expected: object) -> None:
    assert matches(value, expected) is False


def test_opaque_never_equals() -> None:
    opaque = Opaque("x")
    assert opaque != opaque and not matches(opaque, opaque)
    assert opaque in {opaque: 1}  # identity, by the language's own rule for containers
