"""A run beside the last one and beside a normal week: the median of the runs before it.

A fault may also creep: each night a tenth of the pictures less. No night is far from the one
before. It is far from the week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from wearalike.quality.metrics import Metric
from wearalike.quality.shop_shares import FILLED_COLUMNS, MIN_PRODUCTS

# Runs that make a normal week, and how many there must be.
WEEK_RUNS = 7
MIN_WEEK_RUNS = 3

# Values of an earlier run by (metric, scope).
RunValues = Mapping[tuple[str, str], float]

# Shares that a fault lowers, and those that it raises.
_FALLING = {
    "with_image_ratio": "products with a picture",
    "with_code_ratio": "products with a code",
    "with_5_matches_ratio": "products with five recommendations",
    "in_stock_ratio": "products in stock",
    **{f"filled_ratio,column={c}": f"products with {words}" for c, words in FILLED_COLUMNS.items()},
}
_RISING = {
    "equal_values_ratio,column=title": "products with one title",
    "equal_values_ratio,column=url": "products with one link",
    "equal_values_ratio,column=price_cents": "products with one price",
    "equal_codes_ratio,code=shape": "pictures with one code of shape",
    "equal_codes_ratio,code=colour": "pictures with one code of colour",
    "refused_offers_ratio": "refused offers",
}
_AGREEMENTS = {
    "shape_agreement_ratio": "agreement of shape codes with categories",
    "colour_agreement_ratio": "agreement of colour codes with colour words",
}
# An agreement below this says too little to measure a fall from it.
_MIN_AGREEMENT = 0.15
# A share that was this large or larger and has lost nine tenths is gone, however small it was.
_MIN_GONE_SHARE = 0.05


def comparison_metrics(
    metrics: Iterable[Metric], last: str, last_values: RunValues, week: Sequence[RunValues]
) -> list[Metric]:
    """Compare the metrics of each shop with those of the last run and of a normal week.

    Args:
        metrics: The run's metrics.
        last: The last run.
        last_values: Values of the last run.
        week: Values of the runs of a week before this one, the last one among them.

    Returns:
        shop_change_ratio: how far a share of a shop fell or rose since the last run, in the bad
        direction; week_change_ratio: the same since the median of the week.
        agreement_drop_ratio: the part of the last run's agreement of codes with words that is
        lost. week_price_factor: the median price over that of the week, or the other way round.
        With MIN_WEEK_RUNS runs or more; of shops with MIN_PRODUCTS products or more in both.
    """
    now = {(m.metric, m.scope): m.value for m in metrics}
    compared = _change_metrics(now, last_values, "shop_change_ratio", f"in run {last}")
    compared += _agreement_metrics(now, last_values, last)
    if len(week) >= MIN_WEEK_RUNS:
        usual = median_values(week)
        words = f"in a normal week of {len(week)} runs"
        compared += _change_metrics(now, usual, "week_change_ratio", words)
        compared += _mix_metrics(now, usual, words)
        compared += _price_metrics(now, usual, words)
    return compared


def median_values(week: Sequence[RunValues]) -> RunValues:
    """Return the median of each value that at least MIN_WEEK_RUNS of the runs have."""
    found: dict[tuple[str, str], list[float]] = {}
    for values in week:
        for key, value in values.items():
            found.setdefault(key, []).append(value)
    return {key: median(values) for key, values in found.items() if len(values) >= MIN_WEEK_RUNS}


def _change_metrics(now: RunValues, before: RunValues, name: str, when: str) -> list[Metric]:
    """Return the changes of shares, and of the number of products as a share."""
    changes = []
    for shop in _shops(now, before):
        for key, words in {**_FALLING, **_RISING}.items():
            metric, _, rest = key.partition(",")
            scope = f"{rest},shop={shop}" if rest else f"shop={shop}"
            if (metric, scope) not in now or (metric, scope) not in before:
                continue
            value, former = now[metric, scope], before[metric, scope]
            change = value - former if key in _RISING else _fall(value, former)
            note = f"{shop}: {words} were {former:.0%} {when} and are {value:.0%}"
            changes.append(Metric(name, f"metric={key},shop={shop}", change, "ratio", note=note))
        count, former = (v["products_count", f"shop={shop}"] for v in (now, before))
        note = f"{shop}: products were {former:,.0f} {when} and are {count:,.0f}"
        scope = f"metric=products_count,shop={shop}"
        changes.append(Metric(name, scope, 1 - count / former, "ratio", note=note))
    return changes


def _fall(value: float, former: float) -> float:
    """Return how far a share fell; as a part of itself if it is gone."""
    is_gone = former >= _MIN_GONE_SHARE and value <= former / 10
    return 1 - value / former if is_gone else former - value


def _agreement_metrics(now: RunValues, before: RunValues, last: str) -> list[Metric]:
    drops = []
    for (metric, scope), value in now.items():
        former = before.get((metric, scope), 0.0)
        if metric in _AGREEMENTS and former >= _MIN_AGREEMENT:
            note = (
                f"{scope}: {_AGREEMENTS[metric]} was {former:.2f} in run {last} and is {value:.2f}"
            )
            where = f"metric={metric},{scope}" if scope != "all" else f"metric={metric}"
            drops.append(
                Metric("agreement_drop_ratio", where, 1 - value / former, "ratio", note=note)
            )
    return drops


def _mix_metrics(now: RunValues, usual: RunValues, words: str) -> list[Metric]:
    """Return how far the share of a gender, age group or super-category is from the week's."""
    changes = []
    for metric, scope in sorted({k for k in (*now, *usual) if k[0] == "mix_ratio"}):
        of, _, name = scope.rpartition(",shop=")
        shop = f"shop={name}"
        if ("products_count", shop) not in now or ("products_count", shop) not in usual:
            continue
        value, former = (v.get((metric, scope), 0.0) for v in (now, usual))
        note = f"{name}: {of} was {former:.0%} of the products {words} and is {value:.0%}"
        changes.append(Metric("week_change_ratio", scope, abs(value - former), "ratio", note=note))
    return changes


def _price_metrics(now: RunValues, usual: RunValues, words: str) -> list[Metric]:
    factors = []
    for (metric, scope), value in now.items():
        former = usual.get((metric, scope), 0.0)
        if metric == "median_price" and value > 0 and former > 0:
            name = scope.rpartition("shop=")[2]
            note = f"{name}: the median price was {former:,.2f} {words} and is {value:,.2f}"
            factor = max(value / former, former / value)
            factors.append(Metric("week_price_factor", scope, factor, "factor", note=note))
    return factors


def _shops(now: RunValues, before: RunValues) -> list[str]:
    """Return the shops with enough products in both."""
    return sorted(
        scope.removeprefix("shop=")
        for (metric, scope), count in now.items()
        if metric == "products_count"
        and scope.startswith("shop=")
        and min(count, before.get((metric, scope), 0.0)) >= MIN_PRODUCTS
    )
