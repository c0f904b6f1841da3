"""Models on offer: priced, and carried by an upstream."""

from tokenopen.control.actor import Actor
from tokenopen.control.model import put_model
from tokenopen.control.services import Services
from tokenopen.control.upstream import Sealing, create_upstream
from tokenopen.core.money import parse_price


async def offer(services: Services, administrator: Actor, name: str, **prices: str) -> None:
    """Put a model on offer at prices in credits per million; without one of output it gives none."""
    named = {kind: parse_price(price) for kind, price in prices.items()}
    async with services.storage.write() as tx:
        await put_model(
            tx,
            administrator,
            name,
            {
                "maker": "openai",
                "context_window": 128_000,
                "max_output_tokens": 16_384 if "output" in prices else 0,
                "prices": named,
            },
        )
        await create_upstream(
            tx,
            administrator,
            {
                "name": f"to {name}",
                "provider": "openai",
                "credential": "sk-provider",
                "models": {name: name},
            },
            sealing=Sealing(key=services.sealing_key, allowed_networks=()),
        )
