"""`liqctl dev check-vectors`: agreement, differences, and files that are no vectors."""

import copy
import json
import subprocess
import sys

import pytest

from tests.venues.perpetuals_cases import GOLDEN


def run(*arguments):
    command = [sys.executable, "-m", "liqctl", "dev", "check-vectors", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def check(place, document, *more):
    file = place / "vectors.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return run("--venue", "perpetuals", file, *more)


def few():
    """Three vectors: one liquidatable, one healthy, one stale."""
    codes = [one["expect"]["liquidate"].get("code") for one in GOLDEN["vectors"]]
    numbers = [codes.index(None), codes.index(["6013"]), codes.index(["6007"])]
    chosen = [copy.deepcopy(GOLDEN["vectors"][number]) for number in numbers]
    return GOLDEN | {"vectors": chosen}


def test_every_golden_vector_agrees(tmp_path):
    found = check(tmp_path, GOLDEN)

    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout) == {
        "type": "vectors",
        "checked": 120,
        "agree": 120,
        "disagree": 0,
    }


@pytest.mark.parametrize(
    "spoil, field",
    [
        (lambda vectors: vectors[0]["expect"].update(state=0), "state"),
        (lambda vectors: vectors[0]["expect"].update(liq_price=1), "liq_price"),
        (lambda vectors: vectors[0]["expect"].update(pnl=[1, 0]), "pnl"),
        (lambda vectors: vectors[0]["expect"]["liquidate"].update(reward=1), "liquidate.reward"),
        (lambda vectors: vectors[0]["expect"]["liquidate"].update(user=1), "liquidate.user"),
        (lambda vectors: vectors[1]["expect"]["liquidate"].update(code=["6007"]), "liquidate.code"),
        (lambda vectors: vectors[2]["expect"].update(state_err="Custom(6008)"), "state_err"),
    ],
)
def test_one_different_answer_is_told_and_fails(tmp_path, spoil, field):
    document = few()
    spoil(document["vectors"])

    found = check(tmp_path, document, "--json")

    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert (found.returncode, found.stderr) == (1, "")
    assert [line["field"] for line in lines[:-1]] == [field]
    assert lines[-1] == {"type": "vectors", "checked": 3, "agree": 2, "disagree": 1}


def test_without_json_a_difference_is_a_sentence_and_the_counts_are_json(tmp_path):
    document = few()
    document["vectors"][0]["expect"]["state"] = 0

    first, last = check(tmp_path, document).stdout.splitlines()

    assert first == "vector 0: state was 0, we say 1"
    assert json.loads(last)["disagree"] == 1


def test_empty_position_data_means_that_there_is_no_position(tmp_path):
    document = few()
    vector = document["vectors"][0]
    vector["position_data"] = ""
    vector["expect"] = {
        "state": None,
        "state_err": "InstructionError((1, Tagged(Custom(InstructionErrorCustom(3012)))))",
        "liq_price": None,
        "pnl": None,
        "liquidate": {"ok": False, "err": [], "code": ["3012"]},
    }

    assert check(tmp_path, document).returncode == 0


@pytest.mark.parametrize("paying, disagree", [(True, 0), (False, 1)])
def test_a_token_account_that_held_too_little_is_believed_where_tokens_are_paid(
    tmp_path, paying, disagree
):
    paid = [one["expect"]["liquidate"].get("user") for one in GOLDEN["vectors"]]
    number = next(n for n, user in enumerate(paid) if user is not None and (user > 0) == paying)
    vector = copy.deepcopy(GOLDEN["vectors"][number])
    vector["expect"]["liquidate"] = {
        "ok": False,
        "err": ["custom program error: 0x1"],
        "code": ["1"],
    }

    found = check(tmp_path, GOLDEN | {"vectors": [vector]})

    assert json.loads(found.stdout.splitlines()[-1])["disagree"] == disagree


@pytest.mark.parametrize(
    "document, word",
    [
        ("", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "vectors"),
        ({"program": GOLDEN["program"]}, "vectors"),
        ({"program": "no-key", "vectors": GOLDEN["vectors"][:1]}, "vector 0"),
        (GOLDEN | {"vectors": [{}]}, "vector 0"),
        (GOLDEN | {"vectors": [7]}, "vector 0"),
        (GOLDEN | {"vectors": [GOLDEN["vectors"][0] | {"position_data": "0g"}]}, "vector 0"),
        (GOLDEN | {"vectors": [GOLDEN["vectors"][0] | {"now": "noon"}]}, "vector 0"),
    ],
)
def test_a_file_that_is_no_vectors_file_is_refused(tmp_path, document, word):
    found = check(tmp_path, document)

    assert found.returncode == 2
    assert word in found.stderr
    assert "Traceback" not in found.stderr


def test_a_missing_file_and_an_unknown_venue_are_refused(tmp_path):
    assert run("--venue", "perpetuals", tmp_path / "none.json").returncode == 2
    found = run("--venue", "drift", __file__)
    assert found.returncode == 2
