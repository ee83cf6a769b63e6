"""A chain and a keeper as two processes; the keeper is killed again and again."""

import os
from collections.abc import Callable

import pytest

from tests.crash.kill_loop import round_of
from tests.store.postgres_server import fresh_url

KILLS = int(os.environ.get("LIQCTL_KILLS", "25"))
KILLS_ON_POSTGRES = 3


def in_a_file() -> None:
    return None


def on_postgres() -> str:
    return fresh_url("kills")


@pytest.mark.timeout(180 + 4 * KILLS)
@pytest.mark.parametrize("database, kills", [(in_a_file, KILLS), (on_postgres, KILLS_ON_POSTGRES)])
def test_a_keeper_killed_at_any_moment_loses_nothing_and_liquidates_nothing_twice(
    database: Callable[[], str | None], kills: int
) -> None:
    with round_of(seed=1, kills=kills, postgres=database()) as here:
        for number in range(kills):
            here.cycle(number)
        here.heal()

        here.books.change("DELETE FROM liquidations WHERE id = (SELECT MAX(id) FROM liquidations)")
        noticed = here.wrong()

    assert here.found.violations == []
    assert here.found.cycles == kills
    # Were there none in the air, the kills would have hit nobody at work.
    assert here.found.counts["kills_with_an_attempt_in_flight"] > kills // 4
    assert [line.split()[0] for line in noticed] == ["LOST_RECORD"]
