"""Requests made of the OpenAPI document, valid and not, against the application in this program."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from liqctl.server.token import TokenFile
from liqctl.testing import ManualClock
from tests.server.guarded import written
from tests.server.world import BEARER, NOW_MS, TOKEN, application, filled

HEADERS = {"Host": "localhost", **BEARER}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass(slots=True)
class Found:
    """How many cases there were, and what was wrong."""

    cases: int = 0
    violations: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def fuzz(number: int, cases: int, *, part: int = 0, parts: int = 1) -> Found:
    """Return what about so many cases found, or one of the parts of them; equal for an equal number.

    Routes without parameters have one case each, the others share the rest evenly, half of them
    valid by the document.
    """
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock(NOW_MS)
        tokens = TokenFile(written(Path(folder) / "token", TOKEN), clock)
        app = application(filled(Path(folder)), clock=clock, tokens=tokens)
        schema = schemathesis.openapi.from_dict(app.openapi())
        schema.app = app
        found_operations: Any = schema.get_all_operations()
        operations = [each.ok() for each in found_operations]
        with_parameters = [each for each in operations if each.query or each.path_parameters]
        share = cases // (2 * len(with_parameters))
        for operation in operations[part::parts]:
            if operation in with_parameters:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    _try(found, operation, mode, number, share)
            else:
                _try(found, operation, GenerationMode.POSITIVE, number, 1)
    return found


def _try(found: Found, operation: Any, mode: GenerationMode, number: int, count: int) -> None:
    """Try up to so many cases; the first one that is wrong ends them."""

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def run(case: Any, from_the_start: bool) -> None:
        if from_the_start and case.query:
            # Few invented cursors are valid: behind them there would be little to see.
            case.query.pop("cursor", None)
        answer = case.call(headers=HEADERS)
        found.cases += 1
        found.statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    try:
        run()
    except FailureGroup as failures:
        found.violations += [
            f"{operation.label}: {each} {vars(each)}"[:500] for each in failures.exceptions
        ]
