"""The settings that say how long the data folder keeps what no run needs any more."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

_Days = Annotated[int, Strict(), Field(ge=0, le=10**5)]


class RetentionSettings(BaseModel):
    """How long `wearalike prune` keeps what no run needs any more, and how much of it.

    Days count from the last run that used a thing. Every run in the warehouse is always kept, so
    also the published one and the one of a rollback. So is what the next run goes on from.

    Attributes:
        runs_days: Days that the tables of a run are kept.
        candidates_days: Days that the nearest candidates of a run are kept, from which a later
            run's search goes on. Without them it searches everything.
        reports_days: Days that the quality table and the pages of a run are kept.
        pictures_days: Days that a picture is kept after its product has gone, with its row in the
            download ledger.
        models_days: Days that codes and items of a model are kept that no kept run used.
        photos_days: Days that the answers of photo queries are kept.
        max_bytes: Largest data folder. Above it everything is kept for fewer days, until it fits or
            only what is needed is left. None: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    runs_days: _Days = 30
    candidates_days: _Days = 3
    reports_days: _Days = 400
    pictures_days: _Days = 30
    models_days: _Days = 30
    photos_days: _Days = 30
    max_bytes: Annotated[int, Strict(), Field(ge=1)] | None = None

    def cap_days(self, days: int) -> RetentionSettings:
        """Return the settings with no more than these days for anything."""
        names = [name for name in type(self).model_fields if name.endswith("_days")]
        return self.model_copy(update={n: min(days, getattr(self, n)) for n in names})

    @property
    def longest_days(self) -> int:
        """The largest number of days of all."""
        names = [name for name in type(self).model_fields if name.endswith("_days")]
        return max(getattr(self, name) for name in names)
