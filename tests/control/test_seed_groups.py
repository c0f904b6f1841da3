import datetime

import pytest

from tokenopen.control.price_import import list_importable_models
from tokenopen.control.seed_groups import EVERYDAY_MODELS, NEWLY_RELEASED_MODELS, SEED_GROUPS
from tokenopen.core.group import SLUG, matches

DEFAULT, VIP, ENTERPRISE = SEED_GROUPS


@pytest.fixture(scope="module")
def complete() -> set[str]:
    return {model.name for model in list_importable_models(datetime.date(2026, 11, 23)) if not model.missing}


def test_the_three_groups_are_those_of_the_product() -> None:
    assert [(group.slug, group.name, group.suitable_for) for group in SEED_GROUPS] == [
        ("default", "Default", "Regular users; standard pricing"),
        ("vip", "VIP", "High-frequency users; discounted pricing"),
        ("enterprise", "Enterprise", "Large-volume usage; tailored discounts"),
    ]
    assert all(SLUG.fullmatch(group.slug) for group in SEED_GROUPS)
    assert [group.visibility for group in SEED_GROUPS] == ["public", "entitled", "entitled"]
    assert [group.custom_terms for group in SEED_GROUPS] == [False, False, True]


def test_multipliers_and_limits_are_those_of_the_product() -> None:
    assert [group.policy.multipliers_ppm for group in SEED_GROUPS] == [
        (1_000_000,),
        (800_000, 900_000),
        (1_000_000,),
    ]
    limits = [group.policy.limits for group in SEED_GROUPS]
    assert [(limit.requests_per_minute, limit.requests_per_day) for limit in limits] == [
        (60, 1_000),
        (600, 20_000),
        (None, None),
    ]


def test_everyday_models_are_plain_names_of_models_that_are_complete(complete: set[str]) -> None:
    assert DEFAULT.policy.allowed_models == EVERYDAY_MODELS
    assert len(set(EVERYDAY_MODELS)) == len(EVERYDAY_MODELS)
    assert set(EVERYDAY_MODELS) <= complete


def test_vip_has_the_everyday_models_and_more(complete: set[str]) -> None:
    offered = {name for name in complete if VIP.policy.allows(name)}
    assert offered > set(EVERYDAY_MODELS)


def test_every_pattern_of_a_seeded_group_fits_a_complete_model(complete: set[str]) -> None:
    for group in SEED_GROUPS:
        for pattern in (*group.policy.allowed_models, *group.policy.model_multipliers):
            assert any(matches(pattern, name) for name in complete), pattern


def test_vips_own_multiplier_for_new_models_is_for_models_it_has(complete: set[str]) -> None:
    new = {name for name in complete if matches(NEWLY_RELEASED_MODELS, name)}
    assert len(new) >= 3
    assert all(VIP.policy.allows(name) for name in new)


def test_enterprise_has_every_model(complete: set[str]) -> None:
    assert all(ENTERPRISE.policy.allows(name) for name in complete)
