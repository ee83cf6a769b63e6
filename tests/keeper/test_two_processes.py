"""A chain and a keeper as two processes; the keeper is killed again and again."""

import os
import sqlite3
from contextlib import closing

import pytest

from tests.crash.kill_loop import round_of

KILLS = int(os.environ.get("LIQCTL_KILLS", "25"))


@pytest.mark.timeout(180 + 4 * KILLS)
def test_a_keeper_killed_at_any_moment_loses_nothing_and_liquidates_nothing_twice():
    with round_of(seed=1, kills=KILLS) as here:
        for number in range(KILLS):
            here.cycle(number)
        here.heal()

        with closing(sqlite3.connect(here.database)) as db, db:
            db.execute("DELETE FROM liquidations WHERE id = (SELECT MAX(id) FROM liquidations)")
        noticed = here.wrong()

    assert here.found.violations == []
    assert here.found.cycles == KILLS
    # Were there none in the air, the kills would have hit nobody at work.
    assert here.found.counts["kills_with_an_attempt_in_flight"] > KILLS // 4
    assert [line.split()[0] for line in noticed] == ["LOST_RECORD"]
