"""Usage: disjoint classes of units, and reports that cannot be true."""

import pytest
from hypothesis import given

from tests.core.strategies import COUNTED_CLASSES, INPUT_CLASSES, OUTPUT_CLASSES, UNITS_MAX, USAGES
from tokenopen.core.usage import USAGE_CLASSES, ImpossibleUsage, Usage, usage_of


def test_every_class_is_either_input_or_output_or_counted() -> None:
    assert sorted(USAGE_CLASSES) == sorted((*INPUT_CLASSES, *OUTPUT_CLASSES, *COUNTED_CLASSES))


def test_what_is_counted_is_no_input_and_no_output() -> None:
    usage = Usage(dict.fromkeys(COUNTED_CLASSES, 3))
    assert (usage.input_units, usage.output_units) == (0, 0)


@given(USAGES)
def test_input_and_output_units_together_are_all_units(usage: Usage) -> None:
    units = dict(usage)
    assert usage.input_units == sum(units.get(name, 0) for name in INPUT_CLASSES)
    assert usage.output_units == sum(units.get(name, 0) for name in OUTPUT_CLASSES)
    assert usage.input_units + usage.output_units == sum(units.values())


@pytest.mark.parametrize("name", [*INPUT_CLASSES, *OUTPUT_CLASSES])
def test_a_class_may_have_none_or_the_most_but_not_one_more_or_less(name: str) -> None:
    for possible in (0, 1, UNITS_MAX):
        assert dict(Usage({name: possible})) == {name: possible}
    for impossible in (-1, UNITS_MAX + 1, -UNITS_MAX, 10**30):
        with pytest.raises(ImpossibleUsage, match=name):
            Usage({name: impossible})


@pytest.mark.parametrize("name", ["", "Input", "tokens", "per_call", "prompt_tokens"])
def test_a_class_that_is_not_known_is_impossible(name: str) -> None:
    with pytest.raises(ImpossibleUsage, match="unknown usage class"):
        Usage({name: 1})


@pytest.mark.parametrize("units", [1.5, 2.0])
def test_a_report_that_is_not_whole_is_impossible(units: float) -> None:
    with pytest.raises(ImpossibleUsage):
        Usage({"input": units})  # type: ignore[dict-item]


def test_usage_of_names_only_classes_with_units() -> None:
    usage = usage_of(source="estimated", input=3, cached_input=0, output=2)
    assert dict(usage) == {"input": 3, "output": 2}
    assert usage.source == "estimated"
    assert usage_of().source == "reported"


def test_usage_of_refuses_what_usage_refuses() -> None:
    with pytest.raises(ImpossibleUsage):
        usage_of(input=-1)
    with pytest.raises(ImpossibleUsage):
        usage_of(tokens=1)
