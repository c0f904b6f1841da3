"""Members: reading a request member by member, so that what nobody has taken is refused by its name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tokenopen.core.errors import InvalidRequest


class Carrier:
    """Reads one request for ``target``, the API that its provider speaks; notes the hints it leaves out."""

    def __init__(self, model: str, target: str) -> None:
        self._model: Final = model
        self._target: Final = target
        self._left_out: dict[str, None] = {}

    @property
    def left_out(self) -> Sequence[str]:
        """The names of hints that were given and are not carried."""
        return list(self._left_out)

    def leave_out(self, name: str) -> None:
        """Note a hint that is not carried."""
        self._left_out[name] = None

    def refusal(self, path: str, why: str = "which has nothing like it") -> InvalidRequest:
        """Return the refusal of what cannot be carried."""
        return InvalidRequest(
            f"{path} cannot be carried over: model {self._model} is reached through {self._target}, {why}.",
            param=path,
        )

    def open(self, value: Any, path: str) -> "Members":
        """Return the members of a JSON object. Refuses what is none."""
        if not isinstance(value, dict):
            raise InvalidRequest(f"{path} must be an object.", param=path)
        return Members(self, value, path)

    def items(self, value: Any, path: str) -> Iterator[tuple["Members", str]]:
        """Return the objects of an array, each with its path; null is none. Refuses what is no array."""
        if value is None:
            return
        if not isinstance(value, list):
            raise InvalidRequest(f"{path} must be an array.", param=path)
        for place, item in enumerate(value):
            yield self.open(item, f"{path}[{place}]"), f"{path}[{place}]"


class Members:
    """The members of one JSON object that nobody has taken yet."""

    def __init__(self, carrier: Carrier, members: Mapping[str, Any], path: str) -> None:
        self.carrier = carrier
        self._members = dict(members)
        self._path = path

    def path_of(self, name: str) -> str:
        """Return where a member stands in the request."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, *names: str) -> Any:
        """Return a member's value; None where it is absent or null. Of several names the last is returned."""
        value = None
        for name in names:
            value = self._members.pop(name, None)
        return value

    def take_text(self, name: str) -> str:
        """Return a member that must be a text."""
        value = self.take(name)
        if not isinstance(value, str):
            raise InvalidRequest(f"{self.path_of(name)} must be a string.", param=self.path_of(name))
        return value

    def take_hint(self, *names: str) -> None:
        """Take members that are only hints and that are left out."""
        for name in names:
            if self.take(name) not in (None, [], {}, ""):
                self.carrier.leave_out(name)

    def refuse(self, name: str, why: str = "which has nothing like it") -> InvalidRequest:
        """Return the refusal of a member."""
        return self.carrier.refusal(self.path_of(name), why)

    def close(self, neutral: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Refuse what is left, but for what asks for nothing: null, an empty array or object, and the values
        of a member in ``neutral``."""
        for name, value in self._members.items():
            same = [asked for asked in (neutral or {}).get(name, ()) if asked == value]
            if value is not None and value != [] and value != {} and not same:
                raise self.refuse(name)
