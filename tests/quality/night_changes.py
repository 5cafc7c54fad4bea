"""Changes of a drawn night: what spoils it, and what an honest day brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tests.quality import drawn_night as drawn
from tests.quality.drawn_night import DrawnNight

from wearalike.tables import CODE_BITS

Change = Callable[[DrawnNight, np.random.Generator], DrawnNight]
_PICTURE = ["image_id", "shape", "colour", "seen_colour"]


def change_products(function: Callable[[pd.DataFrame, np.random.Generator], Any]) -> Change:
    """Return a change that works on a copy of the products."""

    def change(night: DrawnNight, rng: np.random.Generator) -> DrawnNight:
        frame = night.products.copy()
        found = function(frame, rng)
        return replace(night, products=frame if found is None else found)

    return change


def of_shop(shop: str, share: float = 1.0) -> Callable[..., np.ndarray]:
    """Return a choice of a share of a shop's products, drawn."""

    def choose(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
        rows = np.flatnonzero(frame["shop_id"] == shop)
        return np.sort(rng.permutation(rows)[: round(share * len(rows))])

    return choose


def of_all(share: float = 1.0) -> Callable[..., np.ndarray]:
    """Return a choice of a share of all products, drawn."""
    return lambda frame, rng: np.sort(rng.permutation(len(frame))[: round(share * len(frame))])


def of_category(category: str) -> Callable[..., np.ndarray]:
    """Return a choice of a category's products."""
    return lambda frame, rng: np.flatnonzero(frame["category"] == category)


def of_rest(shop: str, share: float, column: str, left: Any) -> Callable[..., np.ndarray]:
    """Return a choice of a share of a shop, among its products that have a value left."""

    def choose(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
        is_own = frame["shop_id"] == shop
        is_left = frame[column].notna() if left is None else frame[column] == left
        return rng.permutation(np.flatnonzero(is_own & is_left))[: round(share * is_own.sum())]

    return choose


def set_values(choose: Callable[..., np.ndarray], **values: Any) -> Change:
    """Return a change that sets columns; a function gets the former values and the generator."""

    def work(frame: pd.DataFrame, rng: np.random.Generator) -> None:
        rows = frame.index[choose(frame, rng)]
        for column, value in values.items():
            new = value(frame.loc[rows, column], rng) if callable(value) else value
            frame.loc[rows, column] = new

    return change_products(work)


def scale_prices(choose: Callable[..., np.ndarray], factor: float) -> Change:
    return set_values(choose, price_cents=lambda old, _: np.maximum(1, (old * factor).astype(int)))


def move_pictures(
    choose: Callable[..., np.ndarray], columns: list[str] = _PICTURE, *, are_bytes_new: bool = False
) -> Change:
    """Return a change that gives the chosen products each other's pictures.

    are_bytes_new: the pictures come in other bytes, so that their ids are new.
    """

    def work(frame: pd.DataFrame, rng: np.random.Generator) -> None:
        rows = choose(frame, rng)
        moved = frame.iloc[rng.permutation(rows)][columns]
        frame.loc[frame.index[rows], columns] = moved.set_axis(frame.index[rows])
        if are_bytes_new:
            frame.loc[frame.index[rows], "image_id"] = [
                f"{image}-again" for image in frame.iloc[rows]["image_id"]
            ]

    return change_products(work)


def lose_pictures(shop: str, share: float) -> Change:
    return set_values(of_shop(shop, share), image_id=None)


def lose_slowly(shop: str, share: float) -> Change:
    """Return a change that takes pictures from a share of a shop that still has them."""
    return set_values(of_rest(shop, share, "image_id", None), image_id=None)


def sell_out_slowly(shop: str, share: float) -> Change:
    """Return a change that sells out a share of a shop that is still in stock."""
    choose = of_rest(shop, share, "availability", "in_stock")
    return set_values(choose, availability="out_of_stock")


def set_codes(choose: Callable[..., np.ndarray], *halves: str, of: str = "one") -> Change:
    """Return a change of codes: "one" for all, "zero", or "noise"."""

    def work(frame: pd.DataFrame, rng: np.random.Generator) -> None:
        rows = choose(frame, rng)
        for half in halves:
            one = rng.random(CODE_BITS) < 0.5
            codes = {
                "one": lambda one=one: one,
                "zero": lambda: np.zeros(CODE_BITS, bool),
                "noise": lambda: rng.random(CODE_BITS) < 0.5,
            }
            column = list(frame[half])
            for row in rows:
                column[row] = codes[of]()
            frame[half] = column

    return change_products(work)


def exchange_halves(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    frame["shape"], frame["colour"] = list(frame["colour"]), list(frame["shape"])


def encode_anew(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    """Give every product the codes of the better encoder."""
    shapes, colours = drawn.draw_codes(
        list(frame["category"]), list(frame["seen_colour"]), rng, drawn.BETTER_ENCODER
    )
    frame["shape"], frame["colour"] = shapes, colours


def with_encoder(change: Change) -> Change:
    """Return the change, made after a better encoder was promoted."""

    def promoted(night: DrawnNight, rng: np.random.Generator) -> DrawnNight:
        night = change_products(encode_anew)(night, rng)
        return change(replace(night, encoder=drawn.BETTER_ENCODER), rng)

    return promoted


def turn_bits(share: float, suffix: str) -> Change:
    """Return a change of every picture's bytes, whose codes differ in a share of bits."""

    def work(frame: pd.DataFrame, rng: np.random.Generator) -> None:
        for half in ("shape", "colour"):
            frame[half] = [code ^ (rng.random(CODE_BITS) < share) for code in frame[half]]
        frame["image_id"] = [f"{image}-{suffix}" for image in frame["image_id"]]

    return change_products(work)


def drop_products(choose: Callable[..., np.ndarray]) -> Change:
    return change_products(
        lambda frame, rng: frame.drop(frame.index[choose(frame, rng)]).reset_index(drop=True)
    )


def add_products(shop: str, count: int, **values: Any) -> Change:
    def work(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        new = drawn.draw_products(shop, 50_000, count, rng)
        for column, value in values.items():
            new[column] = value
        return pd.concat([frame, new], ignore_index=True)

    return change_products(work)


def chain(*changes: Change) -> Change:
    def work(night: DrawnNight, rng: np.random.Generator) -> DrawnNight:
        for change in changes:
            night = change(night, rng)
        return night

    return work


def keep_feed_of(run: str, shop: str = "moda") -> Change:
    return lambda night, _: replace(night, source_runs={shop: run})


def swap_genders(old: pd.Series, _: np.random.Generator) -> list[str]:
    return [{"male": "female", "female": "male"}.get(gender, gender) for gender in old]


def exchange_shops(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    """Give the pictures of kant to as many products of bazaar, and theirs to kant."""
    kant = np.flatnonzero(frame["shop_id"] == "kant")
    bazaar = np.flatnonzero(frame["shop_id"] == "bazaar")[: len(kant)]
    one, other = frame.iloc[kant][_PICTURE], frame.iloc[bazaar][_PICTURE]
    frame.loc[frame.index[kant], _PICTURE] = other.set_axis(frame.index[kant])
    frame.loc[frame.index[bazaar], _PICTURE] = one.set_axis(frame.index[bazaar])


def shift_columns(*columns: str) -> Change:
    """Return a change that gives each product the values of the row before: a broken join."""

    def work(frame: pd.DataFrame, rng: np.random.Generator) -> None:
        for column in columns:
            frame[column] = list(np.roll(np.array([*frame[column], None], object)[:-1], 1))

    return change_products(work)


def shift_pictures(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    moved = frame[_PICTURE].iloc[np.roll(np.arange(len(frame)), 1)].set_axis(frame.index)
    frame[_PICTURE] = moved


def renumber(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    frame["offer_id"] = [f"x{offer}" for offer in frame["offer_id"]]
    frame["product_id"] = frame["shop_id"] + ":" + frame["offer_id"]


def mix_categories(frame: pd.DataFrame, rng: np.random.Generator) -> None:
    """Map every category of a shop to another leaf."""
    leaves = [leaf for leaf in drawn.LEAVES]
    target = {a[0]: b for a, b in zip(leaves, [*leaves[3:], *leaves[:3]], strict=True)}
    rows = frame.index[frame["shop_id"] == "moda"]
    for column, at in (("super_category", 1), ("gender", 4), ("category", 0)):
        frame.loc[rows, column] = [target[leaf][at] for leaf in frame.loc[rows, "category"]]


def of_month(old: pd.Series, rng: np.random.Generator) -> list[int]:
    return [int(price * rng.choice([1, 0.8, 0.5, 0.3])) for price in old]
