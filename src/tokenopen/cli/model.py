"""``tokenopen models``: what is on offer, and what it costs."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Group as Stack
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, table

app = typer.Typer(
    help="Models and their prices, in credits per 1M tokens (1 credit = 1 USD).", no_args_is_help=True
)

State = Literal["active", "incomplete", "archived"]

Name = Annotated[str, typer.Argument(metavar="MODEL", help="The name that callers use.")]
ContextWindow = Annotated[
    str | None, typer.Option("--context-window", metavar="TOKENS", help="Input and output together.")
]
MaxOutputTokens = Annotated[
    str | None,
    typer.Option("--max-output-tokens", metavar="TOKENS", help="0 for a model that gives none (embeddings)."),
]
Maker = Annotated[str | None, typer.Option("--maker", help="Who makes the model.")]

# Prices that most lists name; the others stand beside them.
_USUAL: Final = ("input", "cached_input", "output")


def _rows(models: Sequence[Json]) -> RenderableType:
    return table(
        (
            "Model",
            "Maker",
            "Input",
            "Cached input",
            "Output",
            "Context window",
            "Max. output",
            "State",
            "Offered",
            "Missing",
        ),
        [
            (
                model["name"],
                model["maker"],
                *((model["prices"] or {}).get(usage_class) for usage_class in _USUAL),
                model["context_window"],
                model["max_output_tokens"],
                model["state"],
                model["offered"],
                _missing(model),
            )
            for model in models
        ],
        right=("Input", "Cached input", "Output", "Context window", "Max. output"),
    )


def _missing(model: Json) -> str:
    return ", ".join(what.replace("_", " ") for what in model["missing"])


def _prices(prices: Json) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {price}" for name, price in prices.items())


def _price_facts(revision: Json) -> dict[str, object]:
    steps = {
        f"Above {step['above_input_tokens']:,} input tokens": _prices(step["prices"])
        for step in revision["steps"]
    }
    return {"Prices per 1M tokens": _prices(revision["prices"]), **steps}


def _one(model: Json) -> RenderableType:
    revision = model["revision"]
    shown: list[RenderableType] = [
        facts(
            {
                "Model": model["name"],
                "Maker": model["maker"],
                "State": model["state"],
                "Missing": _missing(model) or None,
                "Offered": model["offered"],
                "Carried by": model["carried_by"],
                "Context window": model["context_window"],
                "Max. output tokens": model["max_output_tokens"],
                **({} if revision is None else _price_facts(revision)),
                "Price revision": None
                if revision is None
                else f"{revision['number']}, from {instant_text(revision['effective_from'])}, "
                f"by {revision['by']['email']}",
            }
        )
    ]
    for coming in model["upcoming"]:
        shown += ["", facts({"From": instant_text(coming["effective_from"]), **_price_facts(coming)})]
    return Stack(*shown)


def _revision_rows(revisions: Sequence[Json]) -> RenderableType:
    return table(
        ("Revision", "From", "Prices per 1M tokens", "Long context", "By", "Reason"),
        [
            (
                revision["number"],
                instant_text(revision["effective_from"]),
                _prices(revision["prices"]),
                "; ".join(
                    f"above {step['above_input_tokens']:,}: {_prices(step['prices'])}"
                    for step in revision["steps"]
                ),
                revision["by"]["email"],
                revision["reason"],
            )
            for revision in revisions
        ],
    )


@command(app, "list")
def list_models(
    session: Session,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Those that lack something, and what it is.")
    ] = False,
    search: Annotated[str | None, typer.Option("--search", help="In name or maker.")] = None,
    state: Annotated[State | None, typer.Option("--state", help="Only those.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List models with their list prices in credits per 1M tokens."""
    wanted = "incomplete" if incomplete else state
    page = session.client.get(path_of("admin", "models"), q=search, state=wanted, limit=limit, cursor=cursor)
    session.show_page(page, _rows)


@command(app, "show")
def show(session: Session, model: Name) -> None:
    """Show a model: its prices with long-context steps, its limits, and which upstreams carry it."""
    session.show(session.client.get(path_of("admin", "models", model)), _one)


@command(app, "revisions")
def revisions(session: Session, model: Name) -> None:
    """List every price that a model has had or will have."""
    session.show_page(session.client.get(path_of("admin", "models", model, "revisions")), _revision_rows)


@command(app, "set-price")
def set_price(
    session: Session,
    model: Name,
    input_price: Annotated[
        str, typer.Option("--input", metavar="PRICE", help="Credits per 1M input tokens.")
    ],
    output_price: Annotated[
        str | None, typer.Option("--output", metavar="PRICE", help="Credits per 1M output tokens.")
    ] = None,
    cached_input: Annotated[
        str | None, typer.Option("--cached-input", metavar="PRICE", help="Else what input costs.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="CLASS=PRICE",
            help="Any other class: cache_write, audio_input, reasoning ... or per_call; may repeat.",
        ),
    ] = None,
    above: Annotated[
        list[str] | None,
        typer.Option(
            "--above",
            metavar="TOKENS:CLASS=PRICE,...",
            help="The whole price list of calls with more input, such as 200000:input=2.5,output=15.",
        ),
    ] = None,
    no_steps: Annotated[bool, typer.Option("--no-steps", help="The same prices however long.")] = False,
    context_window: ContextWindow = None,
    max_output_tokens: MaxOutputTokens = None,
    maker: Maker = None,
    effective_from: option.EffectiveFrom = None,
    reason: option.Reason = None,
) -> None:
    """Set a model's prices, from now or a coming instant; a model that is not there yet is created.

    A class that is not named costs what input or output does; a price of zero has to be named.
    """
    named = option.given(input=input_price, output=output_price, cached_input=cached_input)
    prices = named | option.parse_pairs("--price", price or ())
    steps: list[Json] | None = [] if no_steps else None
    if above is not None:
        steps = [_parse_step(text) for text in above]
    body = option.given(prices=prices, steps=steps, effective_from=effective_from, reason=reason)
    body |= _limits_body(context_window, max_output_tokens, maker)
    session.show(session.client.put(path_of("admin", "models", model), body), _one)


def _parse_step(text: str) -> dict[str, Any]:
    bound, colon, prices = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"--above takes TOKENS:CLASS=PRICE,..., not {text!r}")
    return {
        "above_input_tokens": option.parse_count("--above", bound),
        "prices": option.parse_pairs("--above", prices.split(",")),
    }


def _limits_body(context_window: str | None, max_output_tokens: str | None, maker: str | None) -> Json:
    counts = option.given(context_window=context_window, max_output_tokens=max_output_tokens)
    numbers = {name: option.parse_count(f"--{name.replace('_', '-')}", text) for name, text in counts.items()}
    return numbers | option.given(maker=maker)


@command(app, "set-limits")
def set_limits(
    session: Session,
    model: Name,
    context_window: ContextWindow = None,
    max_output_tokens: MaxOutputTokens = None,
    maker: Maker = None,
) -> None:
    """Fill in what an incomplete model lacks besides a price; its prices stay."""
    body = _limits_body(context_window, max_output_tokens, maker)
    session.show(session.client.put(path_of("admin", "models", model), body), _one)


@command(app, "archive")
def archive(session: Session, model: Name) -> None:
    """Take a model off the offer; its calls and prices stay."""
    session.show(session.client.post(path_of("admin", "models", model, "archive")), _one)


@command(app, "unarchive")
def unarchive(session: Session, model: Name) -> None:
    """Put an archived model back on offer."""
    session.show(session.client.post(path_of("admin", "models", model, "unarchive")), _one)
