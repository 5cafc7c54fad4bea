"""A host that hangs or fails costs a bounded time, and is found again when it is back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.net.test_http_client import LOOPBACK, QUICK, Handler, Server, fetch, serve

from wearalike.net import http_client
from wearalike.net.host_throttle import OutagePolicy
from wearalike.net.http_client import FetchReason

OUTAGES = OutagePolicy(failures_in_row=4, pause_s=0.2, max_outage_s=2.0)
ONCE = replace(QUICK, max_attempts=1, outages=OUTAGES)
# A second of a busy machine is no fault of a server that answers at once.
PATIENT = replace(ONCE, timeout_s=20, idle_timeout_s=20)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve()


def reasons(answers: list[http_client.Response | http_client.FetchError]) -> list[str]:
    return [
        "answered" if isinstance(answer, http_client.Response) else str(answer.reason)
        for answer in answers
    ]


@pytest.mark.parametrize("fault", ["hangs", "503"])
def test_a_host_that_is_away_is_given_up_for_the_run(server: Server, fault: str) -> None:
    def page(h: Handler, n: int) -> None:
        if fault == "hangs":
            time.sleep(0.6)
        h.answer(503)

    server.pages["/away"] = page
    policy = replace(ONCE, max_connections_per_host=2)
    started_at = time.monotonic()
    found = reasons(fetch(*[server.url(f"/away?{i}") for i in range(300)], manners=policy))
    # One by one they would take 0.5 s each, two at a time: 75 s.
    assert time.monotonic() - started_at < 20
    assert len(server.asked) < 30
    own = FetchReason.TIMEOUT if fault == "hangs" else FetchReason.HTTP_5XX
    assert set(found) == {own, FetchReason.HOST_UNAVAILABLE}
    assert found.count(FetchReason.HOST_UNAVAILABLE) > 250


def test_another_host_is_asked_on(server: Server) -> None:
    server.pages["/away"] = lambda h, n: h.answer(503)
    away = [server.url(f"/away?{i}") for i in range(50)]
    other = [server.url(f"/good?{i}").replace("127.0.0.1", "localhost") for i in range(20)]
    found = reasons(fetch(*away, *other, manners=PATIENT))
    assert set(found[:50]) == {FetchReason.HTTP_5XX, FetchReason.HOST_UNAVAILABLE}
    assert set(found[50:]) == {"answered"}


def test_a_host_that_is_back_is_found_by_one_request_at_a_time(server: Server) -> None:
    times: list[float] = []

    def page(h: Handler, n: int) -> None:
        times.append(time.monotonic())
        h.answer(503 if len(times) <= 6 else 200)

    for i in range(40):
        server.pages[f"/{i}"] = page
    policy = replace(PATIENT, max_connections_per_host=1)
    found = reasons(fetch(*[server.url(f"/{i}") for i in range(40)], manners=policy))
    assert found.count("answered") == 34 and found.count(FetchReason.HTTP_5XX) == 6
    # Four failures in a row, then trials after 0.2, 0.4 and 0.8 s.
    pauses = [later - earlier for earlier, later in itertools.pairwise(times[3:7])]
    wanted = (0.2, 0.4, 0.8)
    assert all(pause > 0.9 * least for pause, least in zip(pauses, wanted, strict=True))


def test_answers_of_a_host_that_is_there_are_no_outage(server: Server) -> None:
    """Missing pictures are not failures of their host, however many there are in a row."""
    server.pages["/gone"] = lambda h, n: h.answer(404)
    found = reasons(fetch(*[server.url(f"/gone?{i}") for i in range(60)], manners=PATIENT))
    assert found == [FetchReason.HTTP_404] * 60


def test_a_wait_longer_than_an_outage_may_be_gives_the_host_up_at_once(server: Server) -> None:
    server.pages["/busy"] = lambda h, n: h.answer(503, Retry_After="86400")
    started_at = time.monotonic()
    found = reasons(
        fetch(
            *[server.url(f"/busy?{i}") for i in range(9)], manners=replace(PATIENT, max_attempts=3)
        )
    )
    assert time.monotonic() - started_at < 10
    assert FetchReason.HTTP_5XX in found and FetchReason.HOST_UNAVAILABLE in found


def test_waits_that_a_host_asks_for_again_and_again_are_bounded(server: Server) -> None:
    def page(h: Handler, n: int) -> None:
        h.answer(429, Retry_After="1")

    server.pages["/busy"] = page
    policy = replace(PATIENT, max_attempts=50)
    started_at = time.monotonic()
    assert reasons(fetch(server.url("/busy"), manners=policy)) == [FetchReason.HTTP_429]
    assert 0.9 < time.monotonic() - started_at < 20 and len(server.asked) < 5


def test_a_trial_that_is_cancelled_lets_another_one_try(server: Server) -> None:
    server.pages["/away"] = lambda h, n: h.answer(503)
    server.pages["/slow"] = lambda h, n: (time.sleep(0.4), h.answer())

    async def run() -> http_client.Response:
        policy = replace(PATIENT, outages=replace(OUTAGES, max_outage_s=30))
        async with http_client.Client(LOOPBACK, policy) as client:
            for i in range(4):
                with pytest.raises(http_client.FetchError):
                    await client.fetch(server.url(f"/away?{i}"), 100_000)
            trial = asyncio.create_task(client.fetch(server.url("/slow"), 100_000))
            other = asyncio.create_task(client.fetch(server.url("/good"), 100_000))
            await asyncio.sleep(0.35)
            trial.cancel()
            return await asyncio.wait_for(other, 5)

    assert asyncio.run(run()).status == 200
