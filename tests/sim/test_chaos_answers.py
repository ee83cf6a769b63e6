"""Answers made wrong, refusals, batches, and old answers: no sockets here."""

import json
from typing import Any

import pytest

from liqctl.chain.base58 import is_signature
from liqctl.sim.chaos.calls import BATCH_MAX, UNREADABLE, Answers, request_of
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.mutate import UNCHANGED, changed, no_json, refusal
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.profiles import Profile
from liqctl.sim.chaos.shelf import AGE_S_MAX, Shelf
from liqctl.sim.chaos.tally import METHODS_MAX, OTHER, Tally

SIGNATURE = "5" * 87
SHADES = [0.0, 0.1, 0.3, 0.49, 0.5, 0.7, 0.9, 0.999]
CONTEXT = {"context": {"apiVersion": "2.2.0", "slot": 1_000}}
STATUSES = {**CONTEXT, "value": [{"slot": 9}, None, {"slot": 8}]}
BLOCKHASH = {**CONTEXT, "value": {"blockhash": "h", "lastValidBlockHeight": 900}}


def plan(**rates: float) -> Plan:
    kinds = {Fault(name): rate for name, rate in rates.items()}
    return Plan(profile=Profile(name="test", about="", rates=kinds), seed=1)


def call(number: object, method: str, *params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def reply(number: object, result: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def told(
    chosen: Plan, asked: object, answer: object, shelf: Shelf | None = None, at_s: float = 0.0
) -> tuple[Any, Tally]:
    tally = Tally()
    request = request_of(json.dumps(asked).encode(), chosen, 1)
    body = None if answer is None else json.dumps(answer).encode()
    return json.loads(Answers(shelf, tally).told(request, body, at_s)), tally


@pytest.mark.parametrize("shade", SHADES)
def test_another_signature_is_a_signature(shade):
    false = changed(Fault.WRONG_SIGNATURE, "sendTransaction", SIGNATURE, shade)

    assert isinstance(false, str)
    assert false != SIGNATURE
    assert is_signature(false)


@pytest.mark.parametrize("shade", SHADES)
@pytest.mark.parametrize("result", [[1, 2, 3], {**CONTEXT, "value": [1, 2, 3]}])
@pytest.mark.parametrize("fault", [Fault.SHORT_ARRAY, Fault.TRUNCATED_LIST])
def test_a_shortened_list_is_a_true_beginning(fault, result, shade):
    false: Any = changed(fault, "getProgramAccounts", result, shade)

    entries = false["value"] if isinstance(false, dict) else false
    assert len(entries) < 3
    assert entries == [1, 2, 3][: len(entries)]


@pytest.mark.parametrize("shade", SHADES)
def test_slots_and_heights_go_back_together(shade):
    back = 1 + int(shade * 500)
    lower = [
        changed(Fault.SLOT_BACKWARDS, "", each, shade)
        for each in (1_000, BLOCKHASH, {"absoluteSlot": 1_000, "blockHeight": 900, "epoch": 3})
    ]

    assert lower == [
        1_000 - back,
        {
            "context": {"apiVersion": "2.2.0", "slot": 1_000 - back},
            "value": {"blockhash": "h", "lastValidBlockHeight": 900 - back},
        },
        {"absoluteSlot": 1_000 - back, "blockHeight": 900 - back, "epoch": 3},
    ]
    assert changed(Fault.SLOT_BACKWARDS, "getSlot", 0, shade) == 0


def test_known_signatures_are_forgotten():
    statuses = changed(Fault.FORGOTTEN, "getSignatureStatuses", STATUSES, 0.1)
    histories = [
        changed(Fault.EMPTY_HISTORY, "getSignaturesForAddress", ["c", "b", "a"], shade)
        for shade in (0.1, 0.9)
    ]

    assert statuses == {**CONTEXT, "value": [None, None, None]}
    assert histories == [[], ["a"]]
    assert changed(Fault.FORGOTTEN, "getTransaction", {"slot": 1}, 0.1) is None
    assert STATUSES["value"] == [{"slot": 9}, None, {"slot": 8}]


@pytest.mark.parametrize("shade", SHADES)
@pytest.mark.parametrize("result", [7, "x", [1], None, True, {**CONTEXT, "value": 7}, STATUSES])
def test_a_result_of_another_type_has_another_type(result, shade):
    false: Any = changed(Fault.WRONG_TYPE, "any", result, shade)

    if isinstance(false, dict) and "context" in false:
        false, result = false["value"], result["value"]
    assert type(false) is not type(result)


@pytest.mark.parametrize(
    ("fault", "method", "result"),
    [
        (Fault.WRONG_SIGNATURE, "sendTransaction", None),
        (Fault.SHORT_ARRAY, "getMultipleAccounts", {**CONTEXT, "value": []}),
        (Fault.SLOT_BACKWARDS, "getHealth", "ok"),
        (Fault.SLOT_BACKWARDS, "isX", True),
        (Fault.FORGOTTEN, "getSignatureStatuses", {**CONTEXT, "value": [None]}),
        (Fault.FORGOTTEN, "getTransaction", None),
        (Fault.EMPTY_HISTORY, "getSignaturesForAddress", []),
    ],
)
def test_what_has_nothing_to_spoil_stays_and_is_not_counted(fault, method, result):
    answer = reply(1, result)

    after, tally = told(plan(**{fault: 100}), call(1, method), answer)

    assert changed(fault, method, result, 0.3) is UNCHANGED
    assert after == answer
    assert tally.summary()["faults"] == 0


def test_half_an_answer_and_a_page_are_no_json():
    body = json.dumps(reply(1, 7)).encode()

    for shade in SHADES:
        with pytest.raises(json.JSONDecodeError):
            json.loads(no_json(body, shade))


@pytest.mark.parametrize("shade", [0.2, 0.8])
def test_refusals_have_the_codes_of_a_node_and_sometimes_no_detail(shade):
    asked = ["address", {"minContextSlot": 1_000}]
    behind, context = (
        refusal(fault, asked, shade) for fault in (Fault.UNHEALTHY, Fault.MIN_CONTEXT)
    )

    assert (behind["code"], context["code"]) == (-32005, -32016)
    assert refusal(Fault.NO_HISTORY, asked, shade)["code"] == -32011
    assert ("data" in behind, "data" in context) == (shade < 0.5, shade < 0.5)
    if shade < 0.5:
        assert context["data"]["contextSlot"] < 1_000


def test_each_call_of_a_batch_meets_its_own_fault_and_the_node_sees_the_rest_only():
    asked = [call(n, "getSlot", {"minContextSlot": 1}) for n in range(40)]
    body = json.dumps(asked).encode()
    chosen = plan(unhealthy=30, slot_backwards=30)
    request = request_of(body, chosen, 1)
    seen = [each["id"] for each in json.loads(request.forwarded(body))]

    answers, tally = told(chosen, asked, [reply(n, 1_000) for n in reversed(seen)])

    by_id = {each["id"]: each for each in answers}
    refused = [n for n, each in by_id.items() if "error" in each]
    lower = [n for n, each in by_id.items() if each.get("result", 1_000) < 1_000]
    assert sorted(by_id) == list(range(40))
    assert sorted(refused + seen) == list(range(40))
    assert min(len(refused), len(lower)) > 3
    assert tally.summary()["faults_by_kind"] == {
        "unhealthy": len(refused),
        "slot_backwards": len(lower),
    }


def test_a_request_without_refusals_is_forwarded_byte_by_byte():
    body = b' [ {"id": 1,"method" :"getSlot"} ] '

    assert request_of(body, plan(slot_backwards=100), 1).forwarded(body) is body


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[1,", b"7", b"\xff", b"[" * 100_000, b"[1" + b",1" * BATCH_MAX + b"]"]
)  # fmt: skip
def test_what_is_no_request_is_one_call_and_passes_as_it_is(body):
    request = request_of(body, plan(unhealthy=0), 1)

    assert [each.method for each in request.calls] == [UNREADABLE]
    assert request.forwarded(body) is body


def test_an_answer_that_is_no_json_passes_as_it_is():
    request = request_of(json.dumps(call(1, "getSlot")).encode(), plan(slot_backwards=100), 1)

    assert Answers(None, Tally()).told(request, b"<html>", 0) == b"<html>"


def test_an_error_of_the_node_stays_an_error():
    answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}

    assert told(plan(wrong_type=100), call(1, "getSlot"), answer)[0] == answer


def test_a_lagging_node_gives_old_answers_or_says_that_it_is_behind():
    shelf, chosen = Shelf(lag_s=4), plan(stale=100)

    def ask(slot: int, at_s: float, **config: int) -> Any:
        asked = call(1, "getMultipleAccounts", ["a"], config)
        answer = reply(1, {"context": {"slot": slot}, "value": [slot]})
        after, tally = told(chosen, asked, answer, shelf, at_s)
        assert (after == answer) is (tally.summary()["faults"] == 0)
        return after.get("result", {}).get("value") or after["error"]["code"]

    assert ask(100, 0) == [100]
    assert ask(105, 2) == [100]
    assert ask(110, 5) == [100]
    assert ask(115, 6, minContextSlot=100) == [100]
    assert ask(120, 7, minContextSlot=101) == -32016
    assert ask(125, 10) == [100]
    assert ask(130, 11) == [110]
    assert ask(900, 20 + AGE_S_MAX) == [900]


def test_the_shelf_is_bounded_and_lets_go_of_what_is_oldest():
    shelf = Shelf(lag_s=1, bytes_max=4_000)

    for number in range(100):
        shelf.put("getAccountInfo", [str(number)], "x" * 100, float(number))
    shelf.put("getAccountInfo", ["huge"], "x" * 2_000, 100.0)

    assert 3_000 < shelf.size <= 4_000
    assert shelf.older("getAccountInfo", ["0"], 101.0) is None
    assert shelf.older("getAccountInfo", ["huge"], 101.0) is None
    assert shelf.older("getAccountInfo", ["99"], 101.0) is not None


def test_method_names_of_callers_are_bounded_and_printable():
    tally = Tally()
    for number in range(METHODS_MAX + 50):
        tally.request(f"m{number}\x1b[31m" + "x" * 500)

    names = tally.summary()["requests_by_method"]

    assert isinstance(names, dict)
    assert names[OTHER] == 50
    assert len(names) == METHODS_MAX + 1
    assert all(name.isprintable() and len(name) <= 64 for name in names)
