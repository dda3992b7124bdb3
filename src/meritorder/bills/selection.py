"""The classification of charges as inference: by rules (`inference.toml`), tags, and the user's selectors."""

import json
import re
import shlex
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import polars as pl

from meritorder.bills.charges import COMMITMENTS, PurchaseOption
from meritorder.domain import Tier
from meritorder.errors import BillError
from meritorder.records.evidence import Assumption
from meritorder.tables import CHARGES
from meritorder.units import format_usd

_EXCLUDED: Final = ("training", "none")
COMPLETED: Final = ("instance_type", "instance_family", "model", "tier", "token_type", "purchase", "kind")
"""Columns that `classify` adds or fills in."""

MACHINES: Final = ("accelerator", "endpoint")
"""Kinds that are paid by the hour and that commitments can cover."""

THROUGHPUT: Final = "throughput"
"""Kind of provisioned throughput: paid by the hour, for capacity of a model rather than for machines."""

_AWS_TYPE: Final = (
    r"\b((?:ml\.|db\.|cache\.)?[a-z]{1,4}\d[a-z0-9-]*\.(?:\d*x?large|metal[\w-]*|medium|small|micro|nano))\b"
)
_AZURE_TYPE: Final = r"(?i)\b(Standard_[A-Z]+\d\w*)"
_GCP_TYPE: Final = r"\b([a-z]\d[a-z]?-(?:standard|highgpu|megagpu|ultragpu|edgegpu|maxgpu|highmem|highcpu)-\w+)\b"
_OWN_WORDS: Final = ("text", "unit")
_PREFIXED: Final = r"^(?:ml|db|cache)\."
_TAG_PREFIX: Final = re.compile(r"^(user|aws)[:_]")


@cache
def rules() -> dict[str, list[dict[str, str]]]:
    """Return the rules by table: `rule`, `tier`, `token_type`, `tag`, `patience`, `stage`, `training`, `term`."""
    table: dict[str, list[dict[str, str]]] = tomllib.loads(
        files("meritorder.bills").joinpath("inference.toml").read_text(encoding="utf-8")
    )
    return table


def classify(groups: pl.DataFrame) -> pl.DataFrame:
    """Return groups of like charges with the columns `COMPLETED`; `kind` is null where they are not inference.

    `excluded_by` selects machines that tags or names mark as training, notebooks or builds, as a selector.

    Args:
        groups: One row for all charges that differ only in time, resource and amount.
    """
    text = pl.concat_str("sku", "service", "description", separator=" | ", ignore_nulls=True)
    named = groups.with_columns(
        text=text,
        instance_type=pl.coalesce(
            "instance_type", *(text.str.extract(pattern) for pattern in (_AWS_TYPE, _AZURE_TYPE, _GCP_TYPE))
        ),
    ).with_columns(instance_family=_family(pl.col("instance_type")))
    table = _applicable(rules()["rule"], groups["provider"])
    is_tokens = pl.col("kind") == "tokens"
    serves = _over_distinct(groups["tags"], _matcher("tag")).is_not_null()
    return (
        named.with_columns(rule=_matching_rule(table))
        .with_columns(kind=_kind(table), found_model=_model(table))
        .with_columns(kind=pl.when(pl.col("kind").is_null() & serves).then(pl.lit("tagged")).otherwise("kind"))
        .with_columns(excluded_by=pl.when((pl.col("kind") == "accelerator") & ~serves).then(_training(groups)))
        .with_columns(
            kind=pl.when(
                ~pl.col("kind").is_in(_EXCLUDED)
                & pl.col("excluded_by").is_null()
                & (pl.col("purchase") != PurchaseOption.TAX)
            ).then("kind"),
            model=pl.when(is_tokens).then(pl.coalesce("model", "found_model", _model_before_comma())),
            tier=pl.when(is_tokens).then(pl.coalesce("tier", _first_match("tier"), pl.lit(Tier.STANDARD))),
            token_type=pl.when(is_tokens).then(pl.coalesce("token_type", _first_match("token_type"))),
            purchase=pl.when(pl.col("purchase") != PurchaseOption.ON_DEMAND)
            .then("purchase")
            .when(is_tokens)
            .then(pl.lit(PurchaseOption.TOKENS))
            .when(pl.col("kind").is_in((*MACHINES, THROUGHPUT)) & _for_a_term())
            .then(pl.lit(PurchaseOption.RESERVED))
            .otherwise("purchase"),
        )
        .drop("text", "rule", "found_model")
    )


def _family(instance_type: pl.Expr) -> pl.Expr:
    """Return `p5` of `ml.p5.48xlarge`, `a3` of `a3-highgpu-8g`, `Standard_ND` of `Standard_ND96isr_v5`."""
    return (
        pl.when(instance_type.str.contains(r"(?i)^standard_"))
        .then(instance_type.str.extract(r"(?i)^(standard_[a-z]+)"))
        .when(instance_type.str.contains(".", literal=True))
        .then(instance_type.str.replace(_PREFIXED, "").str.extract(r"^([^.]+)"))
        .otherwise(instance_type.str.extract(r"^([^-]+)"))
    )


def _applicable(table: list[dict[str, str]], providers: pl.Series) -> list[dict[str, str]]:
    """Return the rules without those for other providers: to compile their patterns takes longer than to match them."""
    present = set(providers)
    return [rule for rule in table if None in present or "provider" not in rule or rule["provider"] in present]


def _matching_rule(table: list[dict[str, str]]) -> pl.Expr:
    """Return the index of the first rule that each row matches.

    Types of machines and meters of one provider are those of charges without a provider too; texts and units are not.
    """
    index: pl.Expr = pl.lit(None, dtype=pl.UInt32)
    for place, rule in reversed(list(enumerate(table))):
        matches = pl.col(rule["column"]).str.contains(rule["pattern"])
        if "provider" in rule:
            is_of = pl.col("provider") == rule["provider"]
            matches &= is_of if rule["column"] in _OWN_WORDS else is_of.fill_null(value=True)
        index = pl.when(matches).then(pl.lit(place, dtype=pl.UInt32)).otherwise(index)
    return index


def _kind(table: list[dict[str, str]]) -> pl.Expr:
    """Return the kind that each row's `rule` assigns."""
    kinds = {place: rule["kind"] for place, rule in enumerate(table)}
    return pl.col("rule").replace_strict(kinds, default=None, return_dtype=pl.String)


def _model(table: list[dict[str, str]]) -> pl.Expr:
    """Return the model that each row's `rule` extracts."""
    model: pl.Expr = pl.lit(None, dtype=pl.String)
    for place, rule in enumerate(table):
        if "model" in rule:
            extracted = pl.col(rule["column"]).str.extract(rule["model"])
            model = pl.when(pl.col("rule") == place).then(extracted).otherwise(model)
    return model


def _first_match(table: str) -> pl.Expr:
    value: pl.Expr = pl.lit(None, dtype=pl.String)
    for rule in reversed(rules()[table]):
        value = pl.when(pl.col("text").str.contains(rule["pattern"])).then(pl.lit(rule[table])).otherwise(value)
    return value


def _model_before_comma() -> pl.Expr:
    """Return the model of an OpenAI line item: "gpt-4o-2024-08-06, input"."""
    return pl.col("sku").str.extract(r"^([^,|]+),").str.replace(r"(?i)\s+batch$", "")


@cache
def tag_pairs(tags: str | None) -> dict[str, str]:
    """Return the tags of a charge by lower-case key, with and without AWS's prefix: `user:team`, `team`."""
    if not tags:
        return {}
    try:
        parsed: Any = json.loads(tags)
    except json.JSONDecodeError:
        return {}
    if isinstance(parsed, dict) and list(parsed) == ["pairs"]:
        labels = parsed["pairs"] if isinstance(parsed["pairs"], list) else []
        named = [label for label in labels if isinstance(label, dict) and isinstance(label.get("key"), str)]
        parsed = {label["key"]: label.get("value") for label in named}
    if not isinstance(parsed, dict):
        return {}
    pairs = {
        key.lower(): value if isinstance(value, str) else json.dumps(value)
        for key, value in parsed.items()
        if value is not None
    }
    return {_TAG_PREFIX.sub("", key): value for key, value in pairs.items()} | pairs


def tag(name: str) -> pl.Expr:
    """Return the value of one tag in each row; null where it is absent."""
    wanted = name.lower()
    return pl.col("tags").map_batches(
        lambda tags: _over_distinct(tags, lambda text: tag_pairs(text).get(wanted)), return_dtype=pl.String
    )


def may_wait() -> pl.Expr:
    """Return whether each row's tags mark its work as deferrable."""
    return pl.col("tags").map_batches(
        lambda tags: _over_distinct(tags, _matcher("patience")).is_not_null(), return_dtype=pl.Boolean
    )


def non_production() -> pl.Expr:
    """Return whether each row's tags mark it as a non-production system."""
    return pl.col("tags").map_batches(
        lambda tags: _over_distinct(tags, _matcher("stage")).is_not_null(), return_dtype=pl.Boolean
    )


def _training(groups: pl.DataFrame) -> pl.Expr:
    """Return the selector of what marks each row as training, notebooks or builds; null if nothing does."""
    return pl.coalesce(
        pl.lit(_over_distinct(groups["tags"], _matcher("training"))),
        pl.when(pl.col("named_for_training") | named_for_training(pl.col("instance_type"))).then(
            pl.coalesce(pl.format("instance_type={}", "instance_type"), pl.format("sku={}", "sku"))
        ),
    )


def excluded(groups: pl.DataFrame) -> list[Assumption]:
    """Return the machines that are not counted as inference because of their tags or names, and how to count them."""
    sums = (
        groups.filter(pl.col("kind").is_null() & pl.col("excluded_by").is_not_null())
        .group_by("excluded_by")
        .agg(pl.col("amortised_usd").sum(), pl.col("instance_type").drop_nulls().unique().sort())
        .sort("amortised_usd", descending=True)
    )
    return [
        Assumption(
            text=f"{format_usd(usd)} of {', '.join(instances[:3]) or 'machines'} is training, notebooks or builds by "
            + (
                "name"
                if selector.startswith("instance_type=")
                else selector.removeprefix("tag:").replace("=", " = ", 1)
            ),
            option=f"--select {shlex.quote(selector)}",
        )
        for selector, usd, instances in sums.rows()
    ]


def named_for_training(resource: pl.Expr) -> pl.Expr:
    """Return whether the name of each resource marks it as training, a notebook or a build server."""
    [names] = rules()["name"]
    return resource.str.contains_any(list(names["words"]), ascii_case_insensitive=True).fill_null(value=False)


def _for_a_term() -> pl.Expr:
    """Return whether each row is for a month or longer."""
    matches = [pl.col(rule["column"]).str.contains(rule["pattern"]) for rule in rules()["term"]]
    return pl.any_horizontal(matches).fill_null(value=False)


def _matcher(table: str) -> Any:  # noqa: ANN401 - a function of a tag text
    """Return a function of tags that returns the first one that a rule of the table matches, as a selector."""
    patterns = [(re.compile(rule["key"], re.IGNORECASE), re.compile(rule["value"])) for rule in rules()[table]]

    def match(tags: str | None) -> str | None:
        pairs = tag_pairs(tags).items()
        matching = (
            f"tag:{name}={value}"
            for name, value in pairs
            for key, pattern in patterns
            if key.fullmatch(name) and pattern.search(value)
        )
        return next(matching, None)

    return match


def _over_distinct(tags: pl.Series, function: Any) -> pl.Series:  # noqa: ANN401 - a function of a tag text
    """Apply a function once to each distinct text: a bill has few sets of tags and many rows."""
    distinct = tags.unique().drop_nulls()
    values = pl.Series([function(text) for text in distinct], dtype=pl.String)
    return tags.replace_strict(distinct, values, default=None, return_dtype=pl.String)


def matches_selectors(
    frame: pl.DataFrame, selectors: Sequence[tuple[str, str]], *, option: str = "--select"
) -> pl.Expr:
    """Return whether each row matches any of the selectors `column=glob`; a tag is `tag:team=llm*`.

    Args:
        frame: The rows.
        selectors: Pairs of a column, or `tag:KEY`, and a glob.
        option: The command-line option that the selectors come from, for the message.

    Raises:
        BillError: There is no such column.
    """
    matches: pl.Expr = pl.lit(value=False)
    for name, glob in selectors:
        if name.startswith("tag:"):
            value = tag(name.removeprefix("tag:"))
        elif name in frame.columns and frame.schema[name] == pl.String:
            value = pl.col(name)
        else:
            texts = [column.name for column in CHARGES if column.dtype == pl.String]
            raise BillError(f"no column {name} to select by", where=option, fix="use tag:KEY or " + ", ".join(texts))
        matches |= value.str.contains(_regex(glob)).fill_null(value=False)
    return matches


def _regex(glob: str) -> str:
    return "(?is)^" + re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") + "$"


def classify_commitments(groups: pl.DataFrame) -> pl.DataFrame:
    """Mark fees and unused parts of a commitment as inference if most of what it covered is inference.

    These rows name no machine; their kind is `commitment` if at least half of the amortized cost of what the commitment
    covered is inference.
    """
    covered = (
        groups.filter(pl.col("purchase").is_in(COMMITMENTS) & ~pl.col("unused") & pl.col("commitment").is_not_null())
        .group_by("commitment")
        .agg(
            total_usd=pl.col("amortised_usd").sum(),
            inference_usd=pl.col("amortised_usd").filter(pl.col("kind").is_not_null()).sum(),
        )
        .filter(
            (pl.col("inference_usd") > 0) & (pl.col("inference_usd") + pl.col("inference_usd") >= pl.col("total_usd"))
        )
    )
    fees = pl.col("commitment").is_in(covered["commitment"].implode()) & (
        pl.col("unused") | (pl.col("amortised_usd") == 0)
    )
    commitment = pl.when(pl.col("kind").is_null() & pl.col("purchase").is_in(COMMITMENTS) & fees)
    return groups.with_columns(kind=commitment.then(pl.lit("commitment")).otherwise("kind"))
