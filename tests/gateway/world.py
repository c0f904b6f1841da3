"""The gateway in one process: a real database, a scripted provider, a clock that tests move."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import select

from tests.conftest import HASHING_KEY, SEALING_KEY, make_user
from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.clock import MovableClock
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fakes.watched_storage import WatchedStorage
from tokenopen.api.caller import CallerApi
from tokenopen.api.gateway import GatewayApi
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import ApiKeyChanges, Narrowing, create_api_key, update_api_key
from tokenopen.control.audit import audit
from tokenopen.control.entitlement import OwnTerms, put_entitlement
from tokenopen.control.group import create_group, update_group
from tokenopen.control.ledger import adjust
from tokenopen.control.model import ModelChanges, put_model
from tokenopen.control.seed_groups import SEED_GROUPS, SeedGroup
from tokenopen.control.setup import set_up
from tokenopen.control.upstream import Sealing, UpstreamChanges, create_upstream, update_upstream
from tokenopen.control.user import create_user
from tokenopen.core.catalog import Endpoint
from tokenopen.core.group import GroupPolicy, Limits
from tokenopen.core.group_history import GroupChanges
from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.gateway.directory import Directory
from tokenopen.gateway.forward import Forwarder
from tokenopen.gateway.pipeline import Gateway
from tokenopen.gateway.refused import RefusedCalls
from tokenopen.gateway.till import Till
from tokenopen.gateway.worker import Worker
from tokenopen.ports.presence import UnknownPresence
from tokenopen.ports.storage import Storage
from tokenopen.storage import schema
from tokenopen.upstream.addresses import parse_origin
from tokenopen.upstream.credential import open_credential
from tokenopen.upstream.surfaces.offered import SURFACES

Json = Any
Row = Mapping[str, Any]

MODEL = "gpt-4o-mini"
# Of no group that the key's account may use at first.
OTHER_MODEL = "gpt-5"
EMBEDDING_MODEL = "text-embedding-3-small"
CONTEXT_WINDOW = 128_000
MODEL_MAX_OUTPUT = 16_384
INPUT_PRICE = 150  # nano-credits a unit: 0.15 credits per million
OUTPUT_PRICE = 600
EMBEDDING_PRICE = 20
CREDIT = 10 * 10**9
CREDENTIAL = "sk-upstream-credential"
GROUP = "team"
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


def price(*, input: int = 0, output: int = 0) -> int:  # noqa: A002 the class's name
    """Return the list price of so many units of MODEL, in nano-credits."""
    return input * INPUT_PRICE + output * OUTPUT_PRICE


def policy(**changes: Any) -> GroupPolicy:
    """Return the policy of a group without limits that allows MODEL and EMBEDDING_MODEL."""
    unlimited = GroupPolicy(
        allowed_models=(MODEL, EMBEDDING_MODEL),
        multiplier_ppm=1_000_000,
        model_multipliers={},
        limits=Limits(requests_per_minute=None, requests_per_day=None),
    )
    return replace(unlimited, **changes)


def bearer(key: str) -> tuple[bytes, bytes]:
    """Return the header that carries a key."""
    return b"authorization", f"Bearer {key}".encode()


@dataclass(kw_only=True)
class World:
    """A user with 10 credits and a key of the public group "team"; models at 0.15 and 0.60 credits."""

    storage: WatchedStorage
    clock: MovableClock
    upstream: ScriptedUpstream
    gateway: Gateway
    api: GatewayApi
    administrator: Actor
    user: Actor
    key: str
    key_id: str
    upstream_id: str

    # Calls

    def caller(self, body: Json, *, key: str | None = None, path: str = CHAT, **more: Any) -> AsgiCaller:
        """Return a caller that is ready to make a call; ``body`` is JSON, or bytes as they are."""
        sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return AsgiCaller(path=path, headers=[bearer(key or self.key)], body=[sent], **more)

    async def call(self, body: Json, *, key: str | None = None, path: str = CHAT, **more: Any) -> AsgiCaller:
        """Make a call and return when all that follows from it is done."""
        caller = await self.caller(body, key=key, path=path, **more).call(self.api)
        await self.settled()
        return caller

    def start(self, caller: AsgiCaller) -> asyncio.Task[AsgiCaller]:
        """Let a caller begin."""
        return asyncio.create_task(caller.call(self.api))

    async def ended(self, running: asyncio.Task[AsgiCaller]) -> AsgiCaller:
        """Wait for a call that was started, and all that follows from it."""
        caller = await running
        await self.settled()
        return caller

    async def look_up(self, path: str, *, key: str | None = None, **more: Any) -> AsgiCaller:
        """Make a GET."""
        caller = AsgiCaller(path=path, method="GET", headers=[bearer(key or self.key)], **more)
        return await caller.call(self.api)

    async def settled(self) -> None:
        """Wait until no call runs and the till has nothing left to do."""
        async with asyncio.timeout(10):
            await self.api.drain()
        await until(lambda: not (self.gateway.till.backlog or self.storage.posting))

    # What the database says

    async def rows(self, table: str) -> Sequence[Row]:
        async with self.storage.read() as tx:
            return await tx.fetch_all(select(schema.metadata.tables[table]))

    async def account(self) -> Row:
        """Return the user's account."""
        (account,) = [row for row in await self.rows("accounts") if row["id"] == self.user.account_id]
        return account

    async def call_row(self, caller: AsgiCaller) -> Row:
        """Return the record of a call by the id that its caller was told."""
        (row,) = [row for row in await self.rows("calls") if row["id"] == caller.headers["x-request-id"]]
        return row

    async def only_call(self) -> Row:
        """Return the record of the one call that there was."""
        (row,) = await self.rows("calls")
        return row

    async def charges(self) -> Sequence[int]:
        """Return what calls took from the account, one by one, and what refunds gave back as negative."""
        entries = sorted(await self.rows("ledger_entries"), key=lambda entry: entry["number"])
        return [-entry["amount"] for entry in entries if entry["kind"] in ("charge", "refund")]

    async def assert_sound(self) -> None:
        """Assert that nothing is held and that every invariant holds."""
        assert (await self.account())["held"] == 0
        async with self.storage.read() as tx:
            report = await audit(tx)
        assert report.drift_count == 0, report.drift

    # What administrators do

    async def change_group(
        self, changes: GroupChanges, *, slug: str = GROUP, at_ms: int | None = None
    ) -> None:
        async with self.storage.write() as tx:
            await update_group(tx, self.administrator, slug, changes, effective_from_ms=at_ms)

    async def create_group(self, slug: str, *, entitled: bool = False, **changes: Any) -> None:
        async with self.storage.write() as tx:
            await create_group(
                tx,
                self.administrator,
                SeedGroup(
                    slug=slug,
                    name=slug.title(),
                    suitable_for="Tests",
                    visibility="entitled" if entitled else "public",
                    custom_terms=False,
                    policy=policy(**changes),
                ),
            )

    async def put_model(self, changes: ModelChanges, *, name: str = MODEL, at_ms: int | None = None) -> None:
        async with self.storage.write() as tx:
            await put_model(tx, self.administrator, name, changes, effective_from_ms=at_ms)

    async def entitle(self, slug: str, **terms: Any) -> None:
        async with self.storage.write() as tx:
            await put_entitlement(tx, self.administrator, self.user.user_id, slug, OwnTerms(**terms))

    async def create_key(self, group: str = GROUP, **narrowing: Any) -> tuple[str, str]:
        """Return a new key of the user's and its id."""
        async with self.storage.write() as tx:
            key, view = await create_api_key(
                tx,
                self.user,
                user_id=self.user.user_id,
                name="Test",
                group=group,
                narrowing=Narrowing(**narrowing),
                hashing_key=HASHING_KEY,
            )
        return key, view.key.id

    async def create_key_of_another(self) -> str:
        """Return a key of another user's, who has no credit."""
        async with self.storage.write() as tx:
            user = await create_user(
                tx, self.administrator, email="bob@example.com", name="Bob", role="user", password_hash=None
            )
            key, _ = await create_api_key(
                tx,
                self.administrator,
                user_id=user.id,
                name="Bob's",
                group=GROUP,
                narrowing=Narrowing(),
                hashing_key=HASHING_KEY,
            )
        return key

    async def change_key(self, changes: ApiKeyChanges) -> None:
        async with self.storage.write() as tx:
            await update_api_key(tx, self.user, self.key_id, changes, account_id=self.user.account_id)

    async def add_upstream(self, slug: str, changes: UpstreamChanges | None = None) -> str:
        """Create an upstream that carries every model, and return its id."""
        values: UpstreamChanges = {
            "name": slug,
            "provider": "openai",
            "base_url": f"https://{slug}.example.com/v1",
            "credential": CREDENTIAL,
            "models": {model: f"{model}-there" for model in (MODEL, OTHER_MODEL, EMBEDDING_MODEL)},
        }
        values.update(changes or {})
        async with self.storage.write() as tx:
            record = await create_upstream(tx, self.administrator, values, sealing=SEALING)
        return record.endpoint.id

    async def change_upstream(self, changes: UpstreamChanges) -> None:
        async with self.storage.write() as tx:
            await update_upstream(tx, self.administrator, self.upstream_id, changes, sealing=SEALING)

    async def set_credit(self, nano: int) -> None:
        """Make the user's balance so many nano-credits."""
        change = Nanocredits(nano - (await self.account())["balance"])
        async with self.storage.write() as tx:
            await adjust(tx, self.administrator, user_id=self.user.user_id, amount=change, reason="Test")


SEALING = Sealing(key=SEALING_KEY, allowed_networks=())


def _open_credential(endpoint: Endpoint) -> str:
    return open_credential(SEALING_KEY, str(parse_origin(endpoint.base_url)), endpoint.credential_sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """Who and what is in a database that a world can be opened on."""

    administrator: Actor
    user: Actor
    key: str
    key_id: str
    upstream_id: str


async def open_world(storage: Storage, clock: MovableClock, furnished: Furnished) -> World:
    """Start a gateway on a furnished database."""
    watched = WatchedStorage(storage)
    upstream = ScriptedUpstream()
    worker = Worker(watched, clock, UnknownPresence())
    await worker.enroll()
    till = Till(watched)
    gateway = Gateway(
        directory=Directory(watched),
        till=till,
        forwarder=Forwarder(upstream, clock, _open_credential),
        worker=worker,
        refused=RefusedCalls(clock),
        storage=watched,
        clock=clock,
    )
    api = GatewayApi(
        gateway,
        hashing_key=HASHING_KEY,
        surfaces=SURFACES,
        look_ups=CallerApi(watched, gateway.directory).look_ups,
    )
    till.start()
    return World(
        storage=watched,
        clock=clock,
        upstream=upstream,
        gateway=gateway,
        api=api,
        administrator=furnished.administrator,
        user=furnished.user,
        key=furnished.key,
        key_id=furnished.key_id,
        upstream_id=furnished.upstream_id,
    )


async def furnish(storage: Storage, clock: MovableClock) -> Furnished:
    """Fill an empty database: the seeded groups and "team", models with prices, an upstream, a user."""
    async with storage.write() as tx:
        done = await set_up(tx, seed_groups=SEED_GROUPS, default_group="default")
    user = await make_user(storage, done.administrator, "ada@example.com")
    empty = Furnished(administrator=done.administrator, user=user, key="", key_id="", upstream_id="")
    world = await open_world(storage, clock, empty)
    await _price_models(world)
    await world.create_group(GROUP)
    upstream_id = await world.add_upstream("one")
    await world.set_credit(CREDIT)
    key, key_id = await world.create_key()
    await world.gateway.till.close()
    return replace(empty, key=key, key_id=key_id, upstream_id=upstream_id)


async def _price_models(world: World) -> None:
    per_million = 10**6
    for model in (MODEL, OTHER_MODEL):
        await world.put_model(
            {
                "maker": "openai",
                "context_window": CONTEXT_WINDOW,
                "max_output_tokens": MODEL_MAX_OUTPUT,
                "prices": {
                    "input": Nanocredits(INPUT_PRICE * per_million),
                    "output": Nanocredits(OUTPUT_PRICE * per_million),
                },
            },
            name=model,
        )
    await world.put_model(
        {
            "maker": "openai",
            "context_window": 8_191,
            "max_output_tokens": 0,
            "prices": {"input": Nanocredits(EMBEDDING_PRICE * per_million)},
        },
        name=EMBEDDING_MODEL,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 what changes it does not tell
            await asyncio.sleep(0.001)


def refusal(caller: AsgiCaller, status: int, code: str) -> Json:
    """Assert that a call was refused so, and return the refusal."""
    assert caller.status == status, (caller.status, caller.body)
    assert caller.whole
    error = caller.json()["error"]
    assert error["code"] == code, error
    assert error["message"]
    return error


def credits_of(nano: int) -> str:
    """Return nano-credits as headers and messages show them."""
    return format_amount(Nanocredits(nano))
