"""The demo's people: who they are, what they may use, and what they call at which hours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

# How many calls run at once; the clock moves between two such batches.
BATCH_SIZE: Final = 8
PROMPT_TEXT: Final = (
    "please summarise the following order in two sentences for our customer and name what is missing "
    "then list open questions by date write a polite answer translate it into Spanish keep all numbers"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """Calls that somebody makes again and again: per hour in office hours, and in the other hours."""

    key: str
    models: tuple[str, ...]
    office_calls: float
    other_calls: float
    input_words: tuple[int, int]
    output_tokens: tuple[int, int] = (1, 1)
    api: Literal["chat", "embeddings"] = "chat"
    # How many of all are streamed.
    streamed: float = 0.5

    def calls_at(self, hour: int, *, weekend: bool) -> float:
        """Return how many calls an hour of the day (UTC) sees on average."""
        return self.office_calls if 8 <= hour < 18 and not weekend else self.other_calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user of the demo. ``keys`` maps a key's name to its group."""

    email: str
    name: str
    role: Literal["user", "administrator"] = "user"
    credit: str = ""
    credit_reason: str = "Invoice 2017"
    entitlements: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    habits: tuple[Habit, ...] = ()


ADMINISTRATOR: Final = Person(email="admin@example.com", name="Alex Admin", role="administrator")
ADA: Final = Person(
    email="ada@example.com",
    name="Ada Holm",
    credit="30",
    keys={"Shop assistant": "default", "Search index": "default"},
    habits=(
        Habit(
            key="Shop assistant",
            models=("gpt-4o-mini", "gpt-4o-mini", "gpt-4o", "gpt-6-luna"),
            office_calls=2.0,
            other_calls=0.3,
            input_words=(80, 900),
            output_tokens=(40, 700),
            streamed=0.8,
        ),
        Habit(
            key="Search index",
            models=("text-embedding-3-small",),
            office_calls=0.6,
            other_calls=0.2,
            input_words=(200, 1_500),
            api="embeddings",
        ),
    ),
)
LINUS: Final = Person(
    email="linus@example.com",
    name="Linus Berg",
    credit="5",
    keys={"Notebook": "default"},
    habits=(
        Habit(
            key="Notebook",
            # The last one is not in his group: those calls are refused, and say so.
            models=("gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini", "gpt-4.1"),
            office_calls=0.5,
            other_calls=0.05,
            input_words=(30, 400),
            output_tokens=(100, 900),
        ),
    ),
)
MAE: Final = Person(
    email="mae@example.com",
    name="Mae Okafor",
    credit="10",
    keys={"Prototype": "default"},
    habits=(
        Habit(
            key="Prototype",
            models=("gpt-6-luna", "gpt-4o-mini"),
            office_calls=0.6,
            other_calls=0.1,
            input_words=(50, 300),
            output_tokens=(50, 400),
        ),
    ),
)
NORTHWIND: Final = Person(
    email="ops@northwind.example",
    name="Northwind Logistics",
    credit="500",
    credit_reason="Contract NW-7, first instalment",
    entitlements={"enterprise": {"multiplier": "0.7", "requests_per_minute": 3_000, "ends_after_days": 40}},
    keys={"Night batch": "enterprise", "Dispatch desk": "enterprise"},
    habits=(
        Habit(
            key="Night batch",
            models=("gpt-4.1", "gpt-4o"),
            office_calls=0.2,
            other_calls=1.0,
            input_words=(500, 3_000),
            output_tokens=(200, 1_500),
            streamed=0.0,
        ),
        Habit(
            key="Dispatch desk",
            models=("gpt-4.1", "gpt-6-luna"),
            office_calls=1.2,
            other_calls=0.1,
            input_words=(60, 600),
            output_tokens=(60, 600),
            streamed=0.9,
        ),
    ),
)
# The first user is the one whom the demo's story is about (cli/demo_story.py).
PEOPLE: Final = (ADMINISTRATOR, ADA, LINUS, MAE, NORTHWIND)
