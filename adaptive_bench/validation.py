"""Values are checked against annotations. An error says which setting it is, what came and what is expected."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

Positive: TypeAlias = Annotated[float, Gt(0)]
NotNegative: TypeAlias = Annotated[float, Ge(0)]
Share: TypeAlias = Annotated[float, Ge(0), Le(1)]
Dropped: TypeAlias = Annotated[float, Ge(0), Lt(1)]  # a probability of leaving something out
Factor: TypeAlias = Annotated[float, Gt(1)]  # of growth
Growth: TypeAlias = Annotated[float, Ge(1)]  # a factor that does not shrink
Shrinkage: TypeAlias = Annotated[float, Gt(0), Le(1)]  # a factor that does not grow
Multiple: TypeAlias = Annotated[float, Gt(0), Le(10)]  # of the size that a source gives
Count: TypeAlias = Annotated[int, Ge(1)]
Several: TypeAlias = Annotated[int, Ge(2)]
Whole: TypeAlias = Annotated[int, Ge(0)]

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)  # 1 is not true, "1" is not 1
KINDS = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text", Path: "a path", NoneType: "null"}
SIGNS = {Gt: ">", Ge: ">=", Lt: "<", Le: "<="}
BOUNDS = {Gt: "above {}", Ge: "from {} up", Lt: "below {}", Le: "at most {}"}


def check(name: str, value: object, annotation: Any) -> None:
    """Raises ValueError unless the value is of the annotated kind and in its range; numbers have to be finite."""
    try:
        _adapter(annotation).validate_python(_plain(value))
    except ValidationError as error:
        raise ValueError(f"{name}={value!r}: {expected(annotation)} is expected") from error


def check_fields(settings: Any) -> None:
    """`check` of every constructor field of a dataclass."""
    expects = _hints(type(settings))  # type: ignore[arg-type]
    for field in fields(settings):
        if field.init:
            check(field.name, getattr(settings, field.name), expects[field.name])


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """`check` of arguments by name. Raises ValueError, too, for a name that the function does not know."""
    expects = hints(function)
    known = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name, value in arguments.items():
        if name not in known and not takes_any:
            raise ValueError(f"{name}={value!r}: there is no such setting; one of {', '.join(known)} is expected")
        if name in expects:
            check(name, value, expects[name])


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function, which checks its arguments first."""
    names = tuple(inspect.signature(function).parameters)

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        check_arguments(function, dict(zip(names, args, strict=False)) | kwargs)
        return function(*args, **kwargs)

    return wrapped


def expected(annotation: Any) -> str:
    """An annotation in words: "a whole number from 1 up, or null"."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [BOUNDS[type(bound)].format(*astuple(bound)) for bound in args[1:] if type(bound) in BOUNDS]
        return f"{expected(args[0])} {' and '.join(bounds)}"
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (Union, UnionType):
        return ", or ".join(map(expected, args))
    if origin is None:
        return KINDS.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"
    if origin is Callable:
        return "a function"
    return f"a mapping to {expected(args[1])}" if issubclass(origin, Mapping) else f"a list, each {expected(args[0])}"


def bounds(annotation: Any) -> str:
    """The range or the choices of an annotation, as short as can be: "> 0", ">= 0, < 1", "pair|sheet"; "" without any."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join(f"{SIGNS[type(bound)]} {astuple(bound)[0]:g}" for bound in args[1:] if type(bound) in SIGNS)
    if origin is Literal:
        return "|".join(map(str, args))
    return ", ".join(filter(None, map(bounds, args))) if origin in (Union, UnionType) else ""


def hints(function: Any) -> Mapping[str, Any]:
    """The annotations of what a class or a function takes, by name."""
    return _hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raises ValueError unless `value` is among `choices`."""
    check(name, value, Literal[tuple(choices)])


def _plain(value: object) -> object:
    """Lists, those of a configuration too, as tuples, which a Sequence and a tuple may be."""
    return tuple(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    # a dataclass takes no other configuration than its own
    return TypeAdapter(annotation, config=None if is_dataclass(annotation) else STRICT)


@cache
def _hints(function: Any) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)
