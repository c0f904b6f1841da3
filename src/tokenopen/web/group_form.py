"""Group form: the fields of a group's editor, read as typed, and filled from a group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenopen.control.seed_groups import SeedGroup
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.group import LIMIT_NAMES, READ_ON_SECONDS_MAX, GroupPolicy, Limits
from tokenopen.core.group_history import GroupContent, content_fields
from tokenopen.core.money import format_multiplier
from tokenopen.web.form import Form
from tokenopen.web.form_value import (
    Reading,
    read_choice,
    read_instant,
    read_limit,
    read_model_multipliers,
    read_multiplier,
    read_number,
    read_patterns,
    read_prose,
)
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import Visit

NAME_LENGTH_MAX: Final = 200
OUTPUT_TOKENS_MAX: Final = 10**7
UNLIMITED: Final = "unlimited"
_VISIBILITIES: Final = ("public", "entitled")
_INTERRUPTION_RULES: Final = ("read_on", "delivered_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedGroup:
    """What was typed: ``fields`` are those of a group under the names that a change of it goes by."""

    fields: Mapping[str, Any]
    reason: str | None
    effective_from_ms: int | None

    @property
    def new_group(self) -> SeedGroup:
        """The group that the fields make."""
        fields = self.fields
        return SeedGroup(
            slug=fields["slug"],
            name=fields["name"],
            suitable_for=fields["suitable_for"],
            visibility=fields["visibility"],
            custom_terms=fields["custom_terms"],
            policy=self.policy,
        )

    @property
    def policy(self) -> GroupPolicy:
        """The policy that the fields make; what it would not take was refused when they were read."""
        fields = self.fields
        return GroupPolicy(
            allowed_models=fields["allowed_models"],
            multiplier_ppm=fields["multiplier_ppm"],
            model_multipliers=fields["model_multipliers"],
            limits=Limits(**{name: fields[name] for name in LIMIT_NAMES}),
            default_max_output_tokens=fields["default_max_output_tokens"],
            interruption_rule=fields["interruption_rule"],
            read_on_seconds=fields["read_on_seconds"],
        )

    def changes_of(self, content: GroupContent) -> dict[str, Any]:
        """Return the fields that differ from what a group says."""
        current = content_fields(content)
        return {name: value for name, value in self.fields.items() if current[name] != value}


def read_group_form(form: Form, visit: Visit) -> tuple[TypedGroup | None, Form]:
    """Return what was typed, None where some of it cannot be, and the form with what is wrong with it."""
    text, reading = visit.text, Reading()
    fields: dict[str, Any] = {
        "slug": form.text("slug"),
        "name": reading.take(_name, form, text),
        "suitable_for": reading.take(read_prose, form, text, "suitable_for"),
        "visibility": reading.take(read_choice, form, text, "visibility", _VISIBILITIES),
        "custom_terms": form.has("custom_terms"),
        "allowed_models": reading.take(read_patterns, form, text, "allowed_models"),
        "multiplier_ppm": reading.take(_multiplier, form, text),
        "model_multipliers": reading.take(read_model_multipliers, form, text, "model_multipliers"),
        **{name: reading.take(read_limit, form, text, name) for name in LIMIT_NAMES},
        "default_max_output_tokens": reading.take(
            read_number, form, text, "default_max_output_tokens", least=1, most=OUTPUT_TOKENS_MAX
        ),
        "interruption_rule": reading.take(read_choice, form, text, "interruption_rule", _INTERRUPTION_RULES),
        "read_on_seconds": reading.take(
            read_number, form, text, "read_on_seconds", least=1, most=READ_ON_SECONDS_MAX
        ),
    }
    reason = reading.take(read_prose, form, text, "reason")
    effective_from_ms = reading.take(read_instant, form, text, "effective_from", visit.zone)
    if reading.errors:
        return None, form.wrong(**reading.errors)
    typed = TypedGroup(fields=fields, reason=reason or None, effective_from_ms=effective_from_ms)
    return typed, form


def _name(form: Form, text: Catalogue) -> str:
    name = form.text("name")
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidRequest(text("admin_group.no_name", most=NAME_LENGTH_MAX), param="name")
    return name


def _multiplier(form: Form, text: Catalogue) -> int:
    multiplier_ppm = read_multiplier(form, text, "multiplier")
    if multiplier_ppm is None:
        raise InvalidRequest(text("form.no_multiplier"), param="multiplier")
    return multiplier_ppm


def fill_group_form(content: GroupContent) -> Form:
    """Return the form as it shows a group before anything was typed."""
    fields = content_fields(content)
    values = {
        **{name: str(value) for name, value in fields.items() if isinstance(value, str | int)},
        **{name: UNLIMITED if fields[name] is None else str(fields[name]) for name in LIMIT_NAMES},
        "multiplier": format_multiplier(fields["multiplier_ppm"]),
        "allowed_models": "\n".join(fields["allowed_models"]),
        "model_multipliers": "\n".join(
            f"{pattern} {format_multiplier(multiplier_ppm)}"
            for pattern, multiplier_ppm in fields["model_multipliers"].items()
        ),
    }
    del values["custom_terms"]
    if fields["custom_terms"]:
        values["custom_terms"] = "yes"
    return Form(values={name: [value] for name, value in values.items()})
