"""Tables by name, which need no download: three of scikit-learn's, and one that is made up like California's houses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ROWS = 5_000  # of the houses
PLACES = ("<1H OCEAN", "INLAND", "NEAR OCEAN", "NEAR BAY")


class TableSet(NamedTuple):
    """A table, and the name of the column to predict."""

    columns: dict[str, Any]
    target: str


def load(name: str) -> TableSet:
    """Return a table by its name.

    Args:
        name: `"diabetes"` (442 rows, 10 columns, the progression of the disease), `"breast_cancer"` (569 rows, 30
            columns, 2 classes), `"wine"` (178 rows, 13 columns, 3 classes), or `"houses"`.
    """
    return houses() if name == "houses" else _of_scikit_learn(name)


def _of_scikit_learn(name: str) -> TableSet:
    from sklearn import datasets

    more = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**more)
    target = {"diabetes": "progression", "breast_cancer": "diagnosis", "wine": "cultivar"}[name]
    values = bunch.target if name == "diabetes" else np.array(bunch.target_names)[bunch.target]
    columns = {str(column): bunch.data[:, place] for place, column in enumerate(bunch.feature_names)}
    return TableSet({**columns, target: values}, target)


def houses(rows: int = ROWS) -> TableSet:
    """Return made-up districts of houses with the columns of California's census of 1990, and four more.

    The value depends on the income, the age, the rooms and bedrooms of a household, the number of people in it, and the
    place. It doesn't depend on `surveyed`, `office`, `block` and `noise`. Some bedrooms and offices are missing.

    Args:
        rows: How many districts.
    """
    random = np.random.default_rng(0)
    income = random.gamma(3.4, 1.15, rows) + 0.5
    age = random.integers(1, 53, rows).astype(float)
    place = random.choice(len(PLACES), rows, p=[0.44, 0.32, 0.13, 0.11])
    households = np.round(random.lognormal(6.0, 0.6, rows)) + 5
    people = np.clip(random.normal(2.9, 0.6, rows), 1, 8)
    per_household = np.clip(4 + 0.35 * income + random.normal(0, 0.8, rows), 2, 20)
    bedrooms = np.clip(0.21 * per_household + random.normal(0, 0.08, rows), 0.4, 6)
    latitude = np.array([34.0, 36.7, 34.7, 37.8])[place] + random.normal(0, 0.6, rows)
    value = (
        0.42 * income
        + 0.01 * age
        + np.array([0.35, -0.55, 0.4, 0.55])[place]
        - 0.5 * (people - 2.9)
        + 1.2 * (bedrooms - 0.21 * per_household)
        + 0.25 * np.sin(income)
    )
    value = np.clip(value + random.normal(0, 0.35, rows), 0.15, None)
    seen = random.random((2, rows))
    days = np.datetime64("1990-01-01") + random.integers(0, 365, rows)
    offices = np.array(["Fresno", "Los Ángeles", "Oakland", "San José"], object)
    columns = {
        "median_income": np.round(income, 4),
        "housing_median_age": age,
        "ocean_proximity": np.array(PLACES, object)[place],
        "households": households,
        "population": np.round(households * people),
        "people_per_household": np.round(people, 3),
        "rooms_per_household": np.round(per_household, 3),
        "bedrooms_per_household": np.where(seen[0] < 0.02, np.nan, np.round(bedrooms, 3)),
        "latitude": np.round(latitude, 2),
        "surveyed": days,
        "office": np.where(seen[1] < 0.05, "", random.choice(offices, rows)),
        "block": random.integers(1000, 9999, rows).astype(float),
        "noise": np.round(random.normal(size=rows), 4),
        "median_house_value": np.round(100_000 * value, -2),
    }
    return TableSet(columns, "median_house_value")
