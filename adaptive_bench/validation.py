"""Checks of single settings; an error says what came and what was expected."""

import math


def positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}={value!r}: a finite number above 0 is expected")


def whole_number(name: str, value: int, *, least: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number from `least` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: a whole number from {least} up is expected")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is among `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: {' or '.join(choices)} is expected")


def probability(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a probability below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: a probability in [0, 1) is expected")
