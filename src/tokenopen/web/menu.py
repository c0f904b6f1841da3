"""Menu: the pages that the console's sidebar leads to, for users and for administrators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuEntry:
    """A page of the menu; its label is the string ``menu.<name>``."""

    name: str
    path: str
    icon: str


USER_MENU: Final = (
    MenuEntry(name="home", path="/home", icon="home"),
    MenuEntry(name="api_keys", path="/keys", icon="key"),
    MenuEntry(name="groups", path="/groups", icon="layers"),
    MenuEntry(name="try_it", path="/try", icon="play"),
    MenuEntry(name="calls", path="/calls", icon="list"),
    MenuEntry(name="usage", path="/usage", icon="chart"),
    MenuEntry(name="credit", path="/credit", icon="coin"),
    MenuEntry(name="upgrade", path="/upgrade", icon="arrow-up"),
)
ADMINISTRATOR_MENU: Final = (
    MenuEntry(name="admin_overview", path="/admin", icon="gauge"),
    MenuEntry(name="admin_groups", path="/admin/groups", icon="layers"),
    MenuEntry(name="admin_models", path="/admin/models", icon="cube"),
    MenuEntry(name="admin_upstreams", path="/admin/upstreams", icon="server"),
    MenuEntry(name="admin_users", path="/admin/users", icon="users"),
    MenuEntry(name="admin_upgrade_requests", path="/admin/upgrade-requests", icon="inbox"),
    MenuEntry(name="admin_ledger", path="/admin/ledger", icon="coin"),
    MenuEntry(name="admin_calls", path="/admin/calls", icon="list"),
    MenuEntry(name="admin_audit_log", path="/admin/audit-log", icon="history"),
    MenuEntry(name="admin_settings", path="/admin/settings", icon="settings"),
)


def current_entry(entries: Sequence[MenuEntry], path: str) -> MenuEntry | None:
    """Return the entry whose page, or a page below it, is at ``path``; the longest one that fits."""
    fitting = [entry for entry in entries if path == entry.path or path.startswith(f"{entry.path}/")]
    return max(fitting, key=lambda entry: len(entry.path), default=None)
