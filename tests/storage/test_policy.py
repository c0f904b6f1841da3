"""Price lists as stored: those from before a class existed charge as they always did."""

from tokenopen.core.catalog import LATER_CLASSES, resolve_prices
from tokenopen.core.money import Nanocredits
from tokenopen.storage.policy import decode_json, decode_prices, encode_json, encode_prices


def test_a_list_from_before_a_class_existed_gives_it_the_price_that_its_units_had_until_then() -> None:
    named = {"input": 5, "output": 7, "audio_input": 50, "cached_input": 2, "video_input": 99}
    prices = resolve_prices({name: Nanocredits(price) for name, price in named.items()})
    stored = decode_json(encode_prices(prices))
    for later in LATER_CLASSES:
        del stored["per_million"][later]
    read = decode_prices(encode_json(stored)).per_million
    assert (read["cached_audio_input"], read["video_input"]) == (2, 5)


def test_a_list_reads_as_it_was_written_counted_classes_too() -> None:
    named = {"input": 5, "output": 7, "images": 40, "per_call": 3}
    prices = resolve_prices({name: Nanocredits(price) for name, price in named.items()})
    assert decode_prices(encode_prices(prices)) == prices
