"""Provider object: something that a provider keeps from a reply (a response, an item, a sound), by its id.

Providers tell our operator's account apart, not ours from each other: whoever knew an id could read it. So
an id is recorded with the account that made it before its reply is whole, and nobody else may name it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderObject:
    """Where an object lives: the upstream that holds it, and the model that wrote it."""

    id: str
    upstream_id: str
    model: str
