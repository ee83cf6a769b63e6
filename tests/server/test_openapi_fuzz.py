import os

import pytest

from tests.server.api_fuzz import fuzz

CASES = int(os.environ.get("LIQCTL_API_CASES", "2000"))
PARTS = 5


@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_that_the_document_describes_or_forbids_is_answered_outside_of_it(part):
    found = fuzz(1, CASES, part=part, parts=PARTS)

    assert found.violations == []
    assert found.cases >= CASES // (2 * PARTS)
    assert {200, 422} <= set(found.statuses)
