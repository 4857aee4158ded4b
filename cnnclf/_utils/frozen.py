"""Records that nobody changes by accident: their arrays and mappings are read-only, too."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ReadOnly:
    """A frozen dataclass that keeps read-only copies of its arrays and mappings, also when it is pickled or copied.

    Examples
    --------
    >>> @dataclass(frozen=True, eq=False)
    ... class Point(ReadOnly):
    ...     position: Any
    >>> position = np.array([1.0, 2.0])
    >>> point = Point(position)
    >>> position[0] = 3
    >>> point.position, point.position.flags.writeable
    (array([1., 2.]), False)
    """

    def __post_init__(self) -> None:
        """Take read-only copies."""
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, freeze(getattr(self, field.name)))

    def __reduce__(self) -> tuple[type["ReadOnly"], tuple[Any, ...]]:
        """Rebuild from the fields: a mapping proxy cannot be pickled, and a pickled array can be written to."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self), tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)


def freeze(value: Any) -> Any:
    """Copy an array, C-contiguous, or a mapping, so that it is read-only; anything else stays as it is."""
    match value:
        case np.ndarray():
            array = np.array(value, order="C")
            array.flags.writeable = False
            return array
        case Mapping():
            return MappingProxyType({key: freeze(item) for key, item in value.items()})
    return value
