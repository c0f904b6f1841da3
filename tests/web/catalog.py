"""Models on offer, for pages that show what groups and upstreams mean for calls."""

from collections.abc import Sequence

from tokenopen.control.actor import Actor
from tokenopen.control.model import put_model
from tokenopen.control.services import Services
from tokenopen.control.upstream import Sealing, create_upstream
from tokenopen.core.money import parse_price

CREDENTIAL = "sk-very-secret-wxyz"


async def offer(services: Services, actor: Actor, *names: str, prices: Sequence[str] = ("2", "8")) -> str:
    """Put models with these prices of input and output on offer; return the id of their upstream."""
    named = dict(zip(("input", "output"), map(parse_price, prices), strict=True))
    async with services.storage.write() as tx:
        for name in names:
            changes = {"context_window": 128_000, "max_output_tokens": 16_384, "prices": named}
            await put_model(tx, actor, name, {"maker": "openai", **changes})  # type: ignore[typeddict-item]
        record = await create_upstream(
            tx,
            actor,
            {
                "name": f"to {names[0]}",
                "provider": "openai",
                "credential": CREDENTIAL,
                "models": {name: name for name in names},
            },
            sealing=Sealing(key=services.sealing_key, allowed_networks=()),
        )
    return record.endpoint.id
