"""Bootstrap: the one place that names concrete adapters and joins them to a running platform.

Opened in this order and closed in the reverse: secret, schema, storage, first start, gateway, jobs. What
cannot be opened raises StartupError, whose text says what to do.
"""

import datetime
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tokenopen.api.application import Application
from tokenopen.api.caller import CallerApi
from tokenopen.api.control_app import create_control_app
from tokenopen.api.gateway import GatewayApi
from tokenopen.bootstrap.engine import StartupError, open_reader, require_shared_engine, starting
from tokenopen.control.administrator_link import create_administrator_link
from tokenopen.control.imported_model import ImportedModel
from tokenopen.control.management_key import InvalidAdminKey
from tokenopen.control.model_import import import_models, list_importable_models
from tokenopen.control.seed_groups import SEED_GROUPS
from tokenopen.control.services import Services
from tokenopen.control.setup import NoAdministrator, create_first_management_key, ensure_admin_key, set_up
from tokenopen.core.catalog import Endpoint
from tokenopen.core.one_time_link import path_of_link
from tokenopen.gateway.directory import Directory
from tokenopen.gateway.forward import Forwarder
from tokenopen.gateway.meter import Meter
from tokenopen.gateway.pipeline import Gateway
from tokenopen.gateway.refused import RefusedCalls
from tokenopen.gateway.till import Till
from tokenopen.gateway.worker import Worker
from tokenopen.jobs.kept_replies import drop_old_replies
from tokenopen.jobs.meter import WRITE_METER_S, MeterFiles
from tokenopen.jobs.periodic import PeriodicJobs
from tokenopen.jobs.recovery import Reaper
from tokenopen.jobs.refused_calls import write_refused_calls
from tokenopen.jobs.retention import drop_old_calls
from tokenopen.jobs.session import forget_ended
from tokenopen.jobs.usage_fold import FOLD_USAGE_S, fold_usage
from tokenopen.ports.clock import Clock, SystemClock
from tokenopen.ports.mail import Mail
from tokenopen.ports.presence import find_presence
from tokenopen.ports.storage import Storage, StorageAway
from tokenopen.ports.upstream import Upstream
from tokenopen.settings import Settings
from tokenopen.storage.platform import is_set_up
from tokenopen.storage.secret import DerivedKeys
from tokenopen.upstream.addresses import parse_origin
from tokenopen.upstream.credential import open_credential
from tokenopen.upstream.http1 import Http1Upstream
from tokenopen.upstream.surfaces.offered import SURFACES
from tokenopen.web.app import create_web_app

__all__ = [
    "FirstStart",
    "Platform",
    "StartupError",
    "create_upstream",
    "open_platform",
    "open_reader",
    "require_shared_engine",
]

DEFAULT_GROUP: Final = "default"
RENEWALS_A_LEASE: Final = 3
REAP_S: Final = 2
WRITE_REFUSED_S: Final = 3
FORGET_ENDED_S: Final = 3600
DROP_KEPT_REPLIES_S: Final = 600
DROP_OLD_CALLS_S: Final = 600

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStart:
    """What a first start tells once.

    ``key`` is the management key that it made where none was given; behind ``link_path``, of the console,
    somebody becomes the first administrator.
    """

    key: str | None
    link_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform that is up. ``first_start`` is None where the database had been started with before."""

    application: Application
    gateway_api: GatewayApi
    first_start: FirstStart | None


def create_upstream(settings: Settings) -> Upstream:
    """Return the client that calls are forwarded with."""
    return Http1Upstream(allowed_networks=settings.upstream_networks)


@asynccontextmanager
async def open_platform(
    settings: Settings, *, clock: Clock | None = None, meter_directory: Path | None = None
) -> AsyncIterator[Platform]:
    """Bring the platform up, and down again at the end. Raises StartupError."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        try:
            async with starting(settings, clock, stack) as (storage, keys):
                first_start = await _start_first(storage, keys, settings)
        except (InvalidAdminKey, NoAdministrator) as error:
            raise StartupError(str(error)) from error
        upstream = create_upstream(settings)
        stack.push_async_callback(upstream.close)
        try:
            platform = await _open_gateway(
                storage,
                upstream,
                keys,
                settings,
                clock,
                stack,
                first_start=first_start,
                meter_directory=meter_directory,
            )
        except StorageAway as error:
            raise StartupError(f"The database went away during the start: {error}") from error
        yield platform


async def _start_first(storage: Storage, keys: DerivedKeys, settings: Settings) -> FirstStart | None:
    """Give an empty database what it needs, and return what is to be told of it once."""
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
    key = None
    # Before the transaction, which is not to wait for them.
    importable = await _list_importable_models(storage)
    async with storage.write() as tx:
        done = await set_up(tx, seed_groups=SEED_GROUPS, default_group=DEFAULT_GROUP)
        if admin_key is not None:
            await ensure_admin_key(tx, done.administrator, admin_key, keys.hashing_key)
        elif done.first_start:
            key = await create_first_management_key(tx, done.administrator, keys.hashing_key)
        if not done.first_start:
            return None
        await import_models(tx, done.administrator, importable)
        token, link = await create_administrator_link(tx, done.administrator, hashing_key=keys.hashing_key)
    return FirstStart(key=key, link_path=path_of_link(link.purpose, token))


async def _list_importable_models(storage: Storage) -> Sequence[ImportedModel]:
    """Return what a first start imports: nothing where the database has been started with before."""
    async with storage.read() as tx:
        if await is_set_up(tx):
            return []
        now_s = tx.now_ms // 1000
    return await list_importable_models(datetime.datetime.fromtimestamp(now_s, datetime.UTC).date())


async def _open_gateway(
    storage: Storage,
    upstream: Upstream,
    keys: DerivedKeys,
    settings: Settings,
    clock: Clock,
    stack: AsyncExitStack,
    *,
    first_start: FirstStart | None,
    meter_directory: Path | None,
) -> Platform:
    presence = find_presence()
    worker = Worker(storage, clock, presence, lease_ms=settings.lease_seconds * 1000)
    await worker.enroll()
    stack.push_async_callback(_retire, worker)
    meter = Meter()
    meter_files = MeterFiles(meter.reading, meter_directory)
    stack.push_async_callback(meter_files.write)
    till = Till(storage, meter)
    till.start()
    stack.push_async_callback(till.close)
    # What a worker of this machine left open when it was killed is free again before any call.
    reaper = Reaper(storage, presence, worker, till.resolve)
    await reaper.reap()
    gateway = Gateway(
        directory=Directory(storage),
        till=till,
        forwarder=Forwarder(upstream, clock, _credential_opener(keys), meter),
        worker=worker,
        refused=RefusedCalls(clock, meter),
        storage=storage,
        clock=clock,
        meter=meter,
    )
    gateway_api = GatewayApi(
        gateway,
        hashing_key=keys.hashing_key,
        surfaces=SURFACES,
        look_ups=CallerApi(storage, gateway.directory).look_ups,
        behind_proxy=settings.public_url.startswith("https://"),
    )
    jobs = PeriodicJobs()
    # While the last calls end their worker's lease has to be renewed.
    stack.push_async_callback(_write_refused_at_end, storage, gateway.refused)
    stack.push_async_callback(jobs.close)
    stack.push_async_callback(gateway_api.drain)
    _add_jobs(jobs, storage, worker, reaper, gateway.refused, settings)
    jobs.add("write meter", meter_files.write, every_s=WRITE_METER_S)
    services = Services(
        storage=storage,
        clock=clock,
        upstream=upstream,
        hashing_key=keys.hashing_key,
        sealing_key=keys.sealing_key,
        allowed_networks=settings.upstream_networks,
        mail=_create_mail(settings, stack),
        public_url=settings.public_url,
    )

    async def is_ready() -> bool:
        try:
            await storage.find_versions(None)
        except StorageAway:
            return False
        return True

    control_app = create_control_app(services, read_meter=meter_files.read)
    application = Application(
        gateway_api=gateway_api,
        control_app=control_app,
        web_app=create_web_app(services, openapi=control_app.openapi, make_call=gateway_api.make_call),
        is_ready=is_ready,
    )
    return Platform(application=application, gateway_api=gateway_api, first_start=first_start)


def _add_jobs(
    jobs: PeriodicJobs,
    storage: Storage,
    worker: Worker,
    reaper: Reaper,
    refused: RefusedCalls,
    settings: Settings,
) -> None:
    jobs.add("renew lease", worker.renew, every_s=settings.lease_seconds / RENEWALS_A_LEASE)
    jobs.add("reap", reaper.reap, every_s=REAP_S)
    jobs.add("write refused calls", lambda: write_refused_calls(storage, refused), every_s=WRITE_REFUSED_S)
    jobs.add("drop kept replies", lambda: drop_old_replies(storage), every_s=DROP_KEPT_REPLIES_S)
    jobs.add("forget ended sessions", lambda: forget_ended(storage), every_s=FORGET_ENDED_S)
    jobs.add("fold usage", lambda: fold_usage(storage), every_s=FOLD_USAGE_S)
    jobs.add("drop old calls", lambda: drop_old_calls(storage), every_s=DROP_OLD_CALLS_S)


def _create_mail(settings: Settings, stack: AsyncExitStack) -> Mail | None:
    if settings.smtp_url is None:
        return None
    # Here, not at the top: 2 MB, and many installations send no mail.
    from tokenopen.mail.smtp import SmtpMail

    mail = SmtpMail(url=settings.smtp_url.get_secret_value(), sender=settings.mail_from)
    stack.callback(mail.close)
    return mail


def _credential_opener(keys: DerivedKeys) -> Callable[[Endpoint], str]:
    opened: dict[tuple[str, bytes], str] = {}

    def open_for(endpoint: Endpoint) -> str:
        names = (endpoint.base_url, endpoint.credential_sealed)
        if names not in opened:
            origin = str(parse_origin(endpoint.base_url))
            opened[names] = open_credential(keys.sealing_key, origin, endpoint.credential_sealed)
        return opened[names]

    return open_for


async def _retire(worker: Worker) -> None:
    try:
        await worker.retire()
    except StorageAway as error:
        _log.warning("worker_not_retired", error=str(error))


async def _write_refused_at_end(storage: Storage, refused: RefusedCalls) -> None:
    try:
        await write_refused_calls(storage, refused)
    except StorageAway as error:
        _log.warning("refused_calls_lost", error=str(error))
