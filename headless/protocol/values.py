"""The base of all messages and events: small immutable values. It does what a frozen dataclass does; dataclasses would
cost every cron job milliseconds, most of them for making the classes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which --help does not need
if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """A subclass names its fields by annotations, in their order, and may give them defaults.

    Two values are equal only if they are of the same class and all their fields are equal. Every value is true.
    """

    def __init_subclass__(cls) -> None:
        cls.field_names = tuple(getattr(cls, "__annotations__", ()))  # type: ignore[attr-defined]

    def __init__(self, *values: object, **named: object) -> None:
        """Raises TypeError for a field too many or too few."""
        names: tuple[str, ...] = type(self).field_names  # type: ignore[attr-defined]
        given = dict(zip(names, values))
        is_wrong = len(values) > len(names) or not given.keys().isdisjoint(named) or not named.keys() <= set(names)
        given.update(named)
        missing = [name for name in names if name not in given and not hasattr(type(self), name)]
        if is_wrong or missing:
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(names) or '(none)'}")
        self.__dict__.update(given)

    def fields(self) -> tuple[tuple[str, object], ...]:
        """Name and value of each field, in their order."""
        return tuple((name, getattr(self, name)) for name in type(self).field_names)  # type: ignore[attr-defined]

    def check_types(self) -> None:
        """Raises TypeError, with a text that names the field, if one has not the type of its annotation. For values
        that others have made: our own are checked by mypy."""
        for name, content in self.fields():
            annotation = type(self).__annotations__[name]
            if type(content).__name__ not in annotation.replace("None", "NoneType").split(" | "):
                raise TypeError(
                    f"{type(self).__name__}.{name} has to be {annotation}, and is a value of {type(content).__name__}"
                )

    def replace(self, **changes: object) -> Self:
        """The same value with other contents in these fields."""
        return type(self)(**{**dict(self.fields()), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), self.fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.fields())})"
