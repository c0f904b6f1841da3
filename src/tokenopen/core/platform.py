"""Platform: what an administrator sets for the whole installation."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``zone`` is where a day begins and ends for TPD; ``support_contact`` a mail address or link."""

    name: str
    zone: ZoneInfo
    default_group: str
    support_contact: str
