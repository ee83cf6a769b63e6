"""From a status to records and messages, on stores that really keep them."""

import json
from dataclasses import replace

import pytest

from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Delivery, Severity
from liqctl.core.status import Status
from liqctl.errors import DeliveryError
from liqctl.testing import RecordingNotifier
from tests.alerts.watch import Lock, Process, process_on, sqlite_store, store_of
from tests.core.statuses import WALLET, WELL, status

LOW = status(wallet=replace(WALLET, balance_lamports=5))
POOR = status(fund_balance=0)
BOTH = status(wallet=replace(WALLET, balance_lamports=5), fund_balance=0)


@pytest.fixture(params=["memory", "sqlite"])
async def process(request, tmp_path):
    async with process_on(store_of(request.param, tmp_path)) as opened:
        yield opened


def sent(process: Process, channel: str) -> list[str]:
    notifier = process.outbox._lanes[channel].notifier
    assert isinstance(notifier, RecordingNotifier)
    return [each.title for each in notifier.sent]


async def test_an_alert_is_recorded_with_its_messages_and_its_event(process):
    await process.look(LOW)

    (alert,) = await process.alerts()
    assert (alert.rule, alert.subject, alert.state) == (
        "wallet_low",
        "reference",
        AlertState.FIRING,
    )
    deliveries = await process.deliveries()
    assert {each.channel for each in deliveries} == {"mailto", "slack", "pagerduty"}
    assert {each.alert_id for each in deliveries} == {alert.id}
    (event,) = await process.thread.run(process.thread.store.events_since, 0, 10)
    assert (event.kind, json.loads(event.body_json)["rule"]) == ("alert", "wallet_low")


async def test_what_is_well_writes_nothing(process):
    for _ in range(5):
        await process.look(WELL)

    assert await process.alerts() == []
    assert await process.thread.run(process.thread.store.last_seq) == 0


async def test_each_channel_hears_of_its_severity_and_of_the_end(process):
    await process.look(BOTH)
    await process.deliver()
    for _ in range(62):
        await process.look(WELL)
    await process.deliver()

    fund, purse = (
        "reference: the insurance fund is at 0 % of the collateral",
        "reference: the liquidator has 0.000000005 SOL left",
    )
    assert sent(process, "pagerduty") == [f"[critical] {purse}", f"[resolved] {purse}"]
    assert sent(process, "slack") == [
        f"[critical] {purse}",
        f"[warning] {fund}",
        f"[resolved] {purse}",
        f"[resolved] {fund}",
    ]
    assert {each.state for each in await process.alerts()} == {AlertState.RESOLVED}
    assert all(each.delivered_ms for each in await process.deliveries())


async def test_a_reminder_belongs_to_the_same_alert(process):
    await process.look(LOW)
    await process.look(LOW, after_s=3_600)

    (alert,) = await process.alerts()
    assert alert.notified_ms == alert.raised_ms + 3_600_000
    assert len(await process.deliveries()) == 6


async def test_a_restarted_process_goes_on_with_the_alerts_of_the_last_run(process):
    await process.look(LOW)
    second = Process(process.thread, process.clock, {}, (), owner="two")
    third = Process(process.thread, process.clock, {}, (), owner="three")

    await third.look(LOW)
    assert len(await third.alerts()) == 1
    for _ in range(62):
        await second.look(WELL)

    (alert,) = await second.alerts()
    assert alert.state is AlertState.RESOLVED


async def test_of_two_processes_that_find_the_same_one_tells(process):
    second = Process(process.thread, process.clock, {}, process.alerting._rules.routes, "two")
    await second.look(WELL)

    await process.look(LOW)
    await second.look(LOW)

    assert len(await process.alerts()) == 1
    assert len(await process.deliveries()) == 3
    assert second.alerting.firing() == process.alerting.firing()


def beside(process: Process) -> Process:
    """Return a second process on the same store, with the same rules and one of the channels."""
    routes = tuple(process.alerting._rules.routes)
    return Process(process.thread, process.clock, {"slack": RecordingNotifier()}, routes, "two")


async def looked(seconds: int, *processes: tuple[Process, Status]) -> None:
    for _ in range(seconds):
        await processes[0][0].clock.advance(1)
        for process, now in processes:
            await process.look(now, after_s=0)


async def ends(process: Process) -> list[str]:
    return [each.channel for each in await process.deliveries() if each.resolves]


async def test_an_alert_is_not_over_while_another_process_sees_it(process):
    second = beside(process)
    await looked(2, (process, LOW), (second, LOW))

    await looked(200, (process, WELL), (second, LOW))
    assert [each.state for each in await process.alerts()] == [AlertState.FIRING]
    assert await ends(process) == []

    await looked(130, (process, WELL), (second, WELL))
    assert [each.state for each in await process.alerts()] == [AlertState.RESOLVED]
    assert sorted(await ends(process)) == ["mailto", "pagerduty", "slack"]


async def test_a_process_that_is_well_ends_what_a_silent_one_saw_and_not_before(process):
    second = beside(process)
    await looked(1, (process, LOW))
    await second.look(WELL)

    await looked(200, (process, LOW), (second, WELL))
    assert [each.state for each in await process.alerts()] == [AlertState.FIRING]

    await looked(125, (second, WELL))
    assert [each.state for each in await process.alerts()] == [AlertState.RESOLVED]


async def test_two_processes_that_see_the_same_end_tell_it_once(process):
    second = beside(process)
    await looked(2, (process, LOW), (second, LOW))

    for _ in range(70):
        await looked(1, (process, WELL), (second, WELL))
        await process.deliver(after_s=0)
        await second.deliver(after_s=0)

    assert sorted(await ends(process)) == ["mailto", "pagerduty", "slack"]
    assert process.alerting.firing() == second.alerting.firing() == []
    assert (len(sent(process, "slack")), sent(second, "slack")) == (2, [])


async def test_two_processes_remind_as_often_as_one(process):
    second = beside(process)
    await looked(2, (process, LOW), (second, LOW))
    await process.clock.advance(3_600)

    await looked(5, (process, LOW), (second, LOW))

    assert len(await process.deliveries()) == 6


async def test_an_alert_that_another_process_ended_by_mistake_is_raised_again(process):
    await process.look(LOW)
    [kept] = await process.alerts()
    ended = replace(kept, state=AlertState.RESOLVED, resolved_ms=5)
    await process.thread.run(process.thread.store.put_alert, ended, [], "{}")

    await process.look(LOW, after_s=3_601)
    await process.look(LOW)

    assert [each.state for each in await process.alerts()] == [
        *(AlertState.FIRING, AlertState.RESOLVED)
    ]


async def test_what_an_ended_process_claimed_is_forgotten_after_an_hour(process):
    await process.look(LOW)
    second = beside(process)

    await second.look(WELL, after_s=3_500)
    assert await process.thread.run(process.thread.store.states, "alerts:one")

    await second.look(WELL, after_s=200)
    assert not await process.thread.run(process.thread.store.states, "alerts:one")


async def test_of_two_processes_on_a_store_one_delivers_until_it_is_gone(process):
    slack = RecordingNotifier()
    second = Process(process.thread, process.clock, {"slack": slack}, (), "two")
    await process.deliver()

    await process.look(LOW)
    await second.deliver()
    assert slack.sent == []

    await second.deliver(after_s=20)
    assert len(slack.sent) == 1


async def test_a_failed_try_is_repeated_until_the_channel_takes_the_message(process):
    slack = process.outbox._lanes["slack"].notifier
    slack.error = DeliveryError("it answered HTTP 503")
    await process.look(LOW)
    await process.deliver()

    (waiting,) = [each for each in await process.deliveries() if each.delivered_ms is None]
    assert (waiting.channel, waiting.tries, waiting.error) == ("slack", 1, "it answered HTTP 503")
    slack.error = None
    await process.deliver()
    assert slack.sent == []

    await process.deliver(after_s=10)
    assert len(slack.sent) == 1


async def test_the_gravest_message_goes_first_again_when_a_channel_is_back(process):
    mail = process.outbox._lanes["mailto"].notifier
    mail.error = DeliveryError("down")
    await process.look(POOR)
    await process.look(BOTH)
    for _ in range(3):
        await process.deliver(after_s=4)
    mail.error = None

    for _ in range(30):
        await process.deliver()

    assert [each.severity for each in mail.sent] == [Severity.CRITICAL, Severity.WARNING]


async def test_the_end_of_an_alert_does_not_overtake_it(process):
    slack = process.outbox._lanes["slack"].notifier
    slack.error = DeliveryError("down")
    await process.look(LOW)
    for _ in range(6):
        await process.deliver(after_s=180)
    await process.look(WELL)
    await process.look(WELL, after_s=61)
    slack.error = None

    await process.deliver()
    assert slack.sent == []
    for _ in range(3):
        await process.deliver(after_s=180)

    about_it = [each.resolves for each in slack.sent if "SOL left" in each.title]
    assert about_it == [False, True]


async def test_a_message_that_is_refused_is_given_up_and_so_is_the_end_of_its_alert(process):
    slack = process.outbox._lanes["slack"].notifier
    slack.error = DeliveryError("it answered HTTP 404", refused=True)
    await process.look(LOW)
    for _ in range(8):
        await process.deliver(after_s=700)
    slack.error = None
    await process.look(WELL)
    await process.look(WELL, after_s=61)
    await process.deliver()

    assert slack.sent == []
    of_slack = [each for each in await process.deliveries() if each.channel == "slack"]
    of_wallet = [each for each in of_slack if "SOL left" in each.title]
    assert [each.next_try_ms for each in of_wallet] == [GIVEN_UP_MS] * 2
    assert of_wallet[1].error == "given up: it answered HTTP 404"
    assert of_wallet[1].tries == 5
    assert "never took" in of_wallet[0].error


async def test_a_channel_that_fails_is_told_by_the_others(process):
    slack = process.outbox._lanes["slack"].notifier
    slack.error = DeliveryError("it answered HTTP 503")
    await process.look(LOW)
    for _ in range(3):
        await process.deliver(after_s=100)
    await process.look()
    await process.deliver()

    alerts = {each.rule: each for each in await process.alerts()}
    assert alerts["channel_failing"].subject == "slack"
    assert "[warning] alerts do not reach slack" in sent(process, "mailto")
    failing = [each for each in await process.deliveries() if "do not reach" in each.title]
    assert "slack" not in {each.channel for each in failing}


async def test_a_message_for_a_channel_that_is_gone_is_given_up(process):
    await process.look(LOW)
    del process.outbox._lanes["slack"]

    await process.deliver()

    (left,) = [each for each in await process.deliveries() if each.channel == "slack"]
    assert left.error == "given up: no channel of this name is configured"
    assert left.next_try_ms == GIVEN_UP_MS


class Crash(RecordingNotifier):
    """A channel that takes a message and loses the process before it is recorded."""

    async def notify(self, delivery: Delivery) -> None:
        await super().notify(delivery)
        raise InterruptedError


async def test_a_message_is_sent_again_when_the_process_died_before_its_record(tmp_path):
    path = tmp_path / "k.db"
    texts = ("warning=slack://a",)
    crash, slack = Crash(), RecordingNotifier()
    async with process_on(sqlite_store(path), channels={"slack": crash}, texts=texts) as first:
        await first.look(LOW)
        with pytest.raises(ExceptionGroup):
            await first.deliver()
    async with process_on(sqlite_store(path), channels={"slack": slack}, texts=texts) as second:
        await second.deliver(after_s=20)

    assert [each.id for each in crash.sent] == [each.id for each in slack.sent]


async def test_a_lost_database_is_told_directly_and_recorded_afterwards(tmp_path):
    path = tmp_path / "k.db"
    async with process_on(sqlite_store(path)) as process:
        await process.look(WELL)
        lock = Lock(path)
        await process.look(status(failing_ms=6_000))
        await process.deliver()
        title = "[critical] reference: the database cannot be written"
        assert [sent(process, name) for name in ("slack", "pagerduty")] == [[title], [title]]

        lock.release()
        await process.look(status(failing_ms=None))
        await process.deliver()

        (alert,) = await process.alerts()
        assert (alert.rule, alert.state) == ("database_lost", AlertState.FIRING)
        assert all(each.delivered_ms for each in await process.deliveries())
        assert sent(process, "slack") == [title]

        await process.look(after_s=61)
        await process.deliver()
        assert sent(process, "slack") == [title, title.replace("critical", "resolved")]
        assert (await process.alerts())[0].state is AlertState.RESOLVED


async def test_an_alert_that_began_and_ended_without_a_database_is_recorded_as_one(tmp_path):
    path = tmp_path / "k.db"
    async with process_on(sqlite_store(path)) as process:
        await process.look(WELL)
        lock = Lock(path)
        await process.look(LOW)
        await process.look(WELL)
        await process.look(WELL, after_s=61)
        lock.release()
        await process.look()

        alerts: list[Alert] = await process.alerts()
        assert [(each.rule, each.state) for each in alerts] == [("wallet_low", AlertState.RESOLVED)]
        assert process.alerting.firing() == []
        await process.deliver()
        await process.deliver()
        assert [each.split("]")[0] for each in sent(process, "slack")] == [
            "[critical",
            "[resolved",
        ]


async def test_an_alert_that_ends_as_the_database_is_back_does_not_stay_firing(tmp_path):
    path = tmp_path / "k.db"
    async with process_on(sqlite_store(path)) as process:
        await process.look(WELL)
        locks = [Lock(path)]
        await process.look(LOW)
        await process.look(WELL)

        def freed() -> Status:
            if locks:
                locks.pop().release()
            return WELL

        (_, trail), *_ = process.alerting._keepers
        process.alerting._keepers = [(freed, trail)]
        await process.look(after_s=61)
        process.alerting._keepers = [(lambda: WELL, trail)]
        await process.look()

        assert [each.state for each in await process.alerts()] == [AlertState.RESOLVED]


async def test_a_message_is_not_sent_twice_because_its_record_was_late(tmp_path):
    path = tmp_path / "k.db"
    locks: list[Lock] = []

    class Locking(RecordingNotifier):
        async def notify(self, delivery: Delivery) -> None:
            await super().notify(delivery)
            locks.append(Lock(path))

    slack = Locking()
    texts = ("warning=slack://a",)
    async with process_on(sqlite_store(path), channels={"slack": slack}, texts=texts) as process:
        await process.look(LOW)
        await process.deliver()
        await process.deliver()
        locks[0].release()
        await process.deliver()

        assert len(slack.sent) == 1
        assert (await process.deliveries())[0].delivered_ms is not None


async def test_a_digest_comes_once_a_day_from_its_hour_on(process):
    hour_s = 3_600
    for _ in range(3):
        await process.look(WELL)
    assert await process.deliveries() == []

    for _ in range(48):
        await process.look(WELL, after_s=hour_s)
    await process.deliver()

    titles = [each.title for each in await process.deliveries()]
    assert titles == ["[digest] liqctl is running: 0 liquidations, nothing is wrong"] * 2
    assert sent(process, "mailto") == titles
    assert sent(process, "slack") == []


async def test_old_alerts_are_forgotten(process):
    await process.look(LOW)
    await process.deliver()
    await process.look(WELL)
    await process.look(WELL, after_s=61)
    await process.deliver()
    assert len(await process.alerts()) == 1

    await process.look(WELL, after_s=91 * 86_400)

    assert await process.alerts() == []
