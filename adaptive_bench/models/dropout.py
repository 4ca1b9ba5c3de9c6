"""The check of what is dropped at random."""


def share(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a share that may be dropped, from 0 up and below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: the share to drop is expected, from 0 up and below 1")
