"""The results of the doctor's checks, and the deployment that they look at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from wearalike.settings import Settings
from wearalike.warehouse.base import MAX_FRESH_AGE_S


class CheckStatus(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"  # a run would succeed, but may not do what is wanted
    FAIL = "fail"  # a run would fail


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        subject: the thing that was checked.
        status: the result.
        observation: facts that the check found.
        advice: what to do; empty where all is well.
    """

    subject: str
    status: CheckStatus
    observation: str
    advice: str = ""

    def __str__(self) -> str:
        """Return one line, and a second one with the advice if there is any."""
        line = f"{self.status:<5} {self.subject:<16} {self.observation}"
        return f"{line}\n{'':<23}to do: {self.advice}" if self.advice else line


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Limits beyond which a check warns or fails.

    Attributes:
        min_free_bytes: less free space than this on the data folder's disk fails.
        ample_free_bytes: less free space than this warns.
        max_publication_age_s: a last publication older than this, in seconds, warns.
        max_clock_skew_s: a larger difference between two clocks, in seconds, warns.
    """

    min_free_bytes: int = 2_000_000_000
    ample_free_bytes: int = 20_000_000_000
    max_publication_age_s: float = MAX_FRESH_AGE_S
    max_clock_skew_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Environment:
    """The deployment that is checked.

    Attributes:
        settings: its settings.
        env: its environment variables.
        limits: limits of the checks.
    """

    settings: Settings
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    limits: HealthLimits = HealthLimits()


def ok_result(subject: str, observation: str) -> CheckResult:
    """Return a result where all is well."""
    return CheckResult(subject, CheckStatus.OK, observation)


def failed_result(subject: str, observation: str, advice: str) -> CheckResult:
    """Return a result that would make a run fail."""
    return CheckResult(subject, CheckStatus.FAIL, observation, advice)
