"""Who may be shown: Python and SQL say the same, and an open wish fits everybody."""

from itertools import product

import duckdb
import pytest

from wearalike.catalog.eligibility import GENDERS_FIT_SQL, genders_fit, is_for_audience
from wearalike.tables import AgeGroup, Gender


def test_the_sql_macro_is_the_python_rule():
    with duckdb.connect() as con:
        con.execute(GENDERS_FIT_SQL)
        for one, other in product(Gender, Gender):
            (fits,) = con.execute("SELECT genders_fit(?, ?)", [str(one), str(other)]).fetchone()
            assert fits == genders_fit(one, other)
    fitting = {(one, other) for one, other in product(Gender, Gender) if genders_fit(one, other)}
    assert (Gender.FEMALE, Gender.MALE) not in fitting
    assert {(Gender.FEMALE, Gender.UNISEX), (Gender.UNISEX, Gender.MALE)} < fitting


@pytest.mark.parametrize(
    ("age_group", "gender", "fits"),
    [
        (None, None, True),
        (AgeGroup.ADULT, None, True),
        (None, Gender.FEMALE, True),
        (AgeGroup.ADULT, Gender.UNISEX, True),
        (AgeGroup.ADULT, Gender.MALE, False),
        (AgeGroup.KIDS, Gender.FEMALE, False),
        (AgeGroup.KIDS, None, False),
    ],
)
def test_a_woman_s_product_is_for(age_group, gender, fits):
    assert is_for_audience(AgeGroup.ADULT, Gender.FEMALE, age_group, gender) is fits
