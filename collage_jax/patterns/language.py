"""The pattern language: terms that describe a piece of a graph, from its last node back to what it reads.

*term*: matches one value together with the nodes that make it. *capture*: a value, number or node that a term puts
aside under a name. *wildcard*: a term that matches any value and none of the nodes behind it. ::

    # dot -> add(bias) -> relu          the bias may be broadcast, and on either side
    relu(op("add")(op("dot_general")(any_("x"), any_("w")).named("dot"), any_("bias")))

Terms are data; ``matcher`` finds them.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from ..graph.ir import Node

if TYPE_CHECKING:
    from .matcher import Match

#: Operations whose two operands may stand in either order.
COMMUTATIVE = frozenset({"add", "add_any", "mul", "max", "min", "and", "or", "xor", "eq", "ne"})


class PatternError(ValueError):
    """A pattern that cannot mean anything."""


@dataclass(frozen=True, eq=False)
class Term:
    """Matches a value. ``name`` is the capture, None for none."""

    name: str | None = field(default=None, kw_only=True)

    def named(self, name: str) -> Any:
        """The same term, captured under ``name``."""
        return replace(self, name=_checked_name(name))

    @property
    def children(self) -> tuple[Term, ...]:
        return ()

    @cached_property
    def heads(self) -> frozenset[str] | None:
        """Operations that can make a value this term matches; None if any value will do."""
        return None

    def walk(self) -> Iterator[Term]:
        """This term and all below it, each once although terms are shared."""
        pending: list[Term] = [self]
        seen: set[Term] = set()
        while pending:
            term = pending.pop()
            if term not in seen:
                seen.add(term)
                yield term
                pending.extend(term.children)


@dataclass(frozen=True, eq=False)
class Any_(Term):
    """A wildcard. Unless ``exact``, it looks through the broadcasts of an operand that is spread over its sibling."""

    exact: bool = False


@dataclass(frozen=True, eq=False)
class Const(Term):
    """A scalar of the program, perhaps broadcast; ``reading`` is applied to the number before it is compared."""

    value: float | None = None
    tolerance: float | None = None
    reading: Callable[[float], float] | None = None


@dataclass(frozen=True, eq=False)
class Same:
    """An attribute that must have one value wherever this name stands in the pattern."""

    name: str


@dataclass(frozen=True, eq=False)
class Op(Term):
    """A node. ``args`` None matches any inputs; ``rest`` allows more inputs than ``args``."""

    ops: tuple[str, ...]
    args: tuple[Term, ...] | None = None
    rest: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    where: Callable[[Node], bool] | None = None

    def __call__(self, *args: Term | float, **attributes: Any) -> Op:
        if self.args is not None:
            raise PatternError(f"an operation takes its operands once, {self.title} has {len(self.args)} already")
        rest = bool(args) and args[-1] is ...
        operands = tuple(as_term(a, self.title) for a in (args[:-1] if rest else args))
        return replace(self, args=operands, rest=rest, attributes={**self.attributes, **attributes})

    @property
    def title(self) -> str:
        return "|".join(self.ops)

    @property
    def children(self) -> tuple[Term, ...]:
        return self.args or ()

    @cached_property
    def heads(self) -> frozenset[str] | None:
        return frozenset(self.ops)


@dataclass(frozen=True, eq=False)
class OneOf(Term):
    """Alternatives, tried in order."""

    options: tuple[Term, ...]

    @property
    def children(self) -> tuple[Term, ...]:
        return self.options

    @cached_property
    def heads(self) -> frozenset[str] | None:
        found = [option.heads for option in self.options]
        return None if any(h is None for h in found) else frozenset(op for h in found for op in h or ())


@dataclass(frozen=True, eq=False)
class Spread(Term):
    """``term``, perhaps behind broadcasts or reshapes that only add dimensions; these belong to the match."""

    term: Term

    @property
    def children(self) -> tuple[Term, ...]:
        return (self.term,)


Builder: TypeAlias = Callable[[Any], Term]


def op(*ops: str, where: Callable[[Node], bool] | None = None) -> Op:
    """A node whose operation is one of ``ops``: call it with terms for its inputs and attributes for its parameters.

    An attribute is a literal, a predicate or ``same("name")``. ``...`` as the last operand stands for any others.
    Uncalled, it matches whatever the inputs are. ``where`` sees the node.
    """
    if not ops or not all(isinstance(o, str) and o for o in ops):
        raise PatternError(f"op takes names of operations, got {ops!r}; write op('dot_general')")
    return Op(ops=ops, where=where)


def any_(name: str | None = None, *, exact: bool = False) -> Any_:
    """Any value, captured as ``name``; the same name twice must be the same value.

    An operand that is broadcast over its sibling is captured as it was before (a bias as its vector), unless ``exact``.
    """
    return Any_(name=None if name is None else _checked_name(name), exact=exact)


def const(
    value: float | None = None,
    tol: float | None = None,
    *,
    name: str | None = None,
    reading: Callable[[float], float] | None = None,
) -> Const:
    """A scalar constant, through broadcasts and conversions; ``value`` None accepts any.

    ``tol`` is relative (absolute at 0) and defaults to the rounding of the constant's own dtype.
    """
    if value is not None and not isinstance(value, numbers.Real):
        raise PatternError(f"const takes a number or None, got {value!r}; capture arrays with any_('name')")
    if tol is not None and not tol >= 0:
        raise PatternError(f"tol must be at least 0, got {tol!r}; omit it for the rounding of the dtype")
    if value is not None:
        value = float(value)
    return Const(
        value=value,
        tolerance=tol,
        reading=reading,
        name=None if name is None else _checked_name(name),
    )


def same(name: str) -> Same:
    """For an attribute: any value, but the same wherever ``name`` stands; ``match.attributes[name]`` has it."""
    return Same(_checked_name(name))


def one_of(*options: Term) -> OneOf:
    """Any of ``options``; all that fit are reported."""
    if not options:
        raise PatternError("one_of takes at least one pattern, got none; list the alternatives")
    return OneOf(options=tuple(as_term(o, "one_of") for o in options))


def optional(build: Builder) -> Callable[[Term], OneOf]:
    """``optional(relu)(p)`` is ``relu(p)`` or ``p``; ``build`` is any function from a pattern to a pattern."""
    if isinstance(build, Term) and not (isinstance(build, Op) and build.args is None):
        raise PatternError(f"optional takes a function of a pattern, got {build!r}; write optional(lambda p: ...)")
    return lambda term: one_of(build(term), term)


def spread(term: Term) -> Spread:
    """``term``, perhaps broadcast on its way to where it is used."""
    return Spread(term=as_term(term, "spread"))


def as_term(thing: Any, place: str) -> Term:
    """``thing`` as a term; a number is a constant."""
    if isinstance(thing, Term):
        return thing
    if isinstance(thing, numbers.Real) and not isinstance(thing, bool):
        return const(float(thing))
    raise PatternError(f"{place} takes patterns and numbers, got {thing!r}; use any_('name') for any value")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise PatternError(f"a capture's name must be a non-empty string, got {name!r}; write any_('x')")
    return name


@dataclass(frozen=True, eq=False)
class Pattern:
    """A named term with a condition: ``where(match)`` sees every capture.

    ``multi_exit``: inner values may also be read outside. ``through_casts``: conversions between floating dtypes may
    stand anywhere inside.
    """

    name: str
    pattern: Term
    where: Callable[[Match], bool] | None = None
    multi_exit: bool = field(default=False, kw_only=True)
    through_casts: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise PatternError(f"a pattern's name must be a non-empty string, got {self.name!r}; it is for the report")
        if not isinstance(self.pattern, Term):
            raise PatternError(f"pattern {self.name!r} must be built from op(...), got {self.pattern!r}")
        if self.where is not None and not callable(self.where):
            raise PatternError(f"where of pattern {self.name!r} must be a function of the match, got {self.where!r}")
        if self.pattern.heads is None:
            raise PatternError(f"pattern {self.name!r} must end in an operation, not a wildcard; wrap it in op(...)")
        kinds: dict[str, type] = {}
        for term in self.pattern.walk():
            if term.name is not None and kinds.setdefault(term.name, type(term)) is not type(term):
                raise PatternError(
                    f"pattern {self.name!r} captures {term.name!r} both as {kinds[term.name].__name__} and as "
                    f"{type(term).__name__}; give them two names"
                )
