"""A signer in a program of its own: what it may say, and what becomes of one that misbehaves."""

import asyncio
import copy
import os
import pickle
import resource
import sys
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest
from solders.keypair import Keypair
from structlog.testing import capture_logs

from liqctl.chain.external_signer import ExternalSigner, Patience, SignerRefused, opened_signer
from liqctl.chain.transaction import compile_message, sign
from liqctl.errors import GuardError, SettingsError
from liqctl.ports import Signer
from tests.chain.scripted import ADDRESSES

PROGRAM = Path(__file__).with_name("signing_program.py")
KEY = Keypair.from_seed(bytes([7] * 32))
ADDRESS = str(KEY.pubkey())
QUICK = Patience(start_s=30, sign_s=30, end_s=0.3)
HASTY = Patience(start_s=30, sign_s=0.5, end_s=0.3)


def source(how: str, *files: Path) -> str:
    return " ".join(["exec:" + sys.executable, str(PROGRAM), how, "7", *map(str, files)])


def opened(
    how: str, *files: Path, patience: Patience = QUICK
) -> AbstractAsyncContextManager[Signer]:
    return opened_signer(source(how, *files), patience)


def alive(word: str) -> list[int]:
    """Return the processes that have the word among their arguments."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word in (place / "cmdline").read_text() and int(place.name) != os.getpid():
                found.append(int(place.name))
    return found


async def test_a_program_signs_a_transaction():
    message = compile_message(ADDRESS, [], ADDRESSES[0], 1_000, 0)

    async with opened("well") as signer:
        assert signer.address == ADDRESS
        raw, signature = await sign(message, signer)
        again = await signer.sign(b"another")

    assert signature == str(KEY.sign_message(message))
    assert raw[1:65] == bytes(KEY.sign_message(message))
    assert again == bytes(KEY.sign_message(b"another"))


async def test_a_signature_may_be_in_base64():
    async with opened("base64") as signer:
        assert await signer.sign(b"message") == bytes(KEY.sign_message(b"message"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("wrong_message", "not of"),
        ("wrong_key", "not of"),
        ("zeros", "not of"),
        ("short", "no signature"),
        ("no_signature", "no signature"),
        ("wrong_id", "another question"),
        ("garbage", "no answer"),
        ("deep", "no answer"),
        ("endless", "more than 4096 bytes"),
        ("mute", "no answer within 0.5 s"),
        ("die_always", "ended twice"),
    ],
)
async def test_an_answer_that_is_no_signature_of_the_message_is_never_used(how, said):
    async with opened(how, patience=HASTY if how == "mute" else QUICK) as signer:
        with pytest.raises(GuardError, match=said) as caught:
            await signer.sign(b"message")

        assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit_at_start", "ended before"),
        ("no_greeting", "did not begin with"),
        ("no_pubkey", "no public key"),
        ("endless_start", "more than 4096 bytes"),
        ("mute_start", "said nothing within 0.3 s"),
    ],
)
async def test_a_program_that_does_not_introduce_itself_is_a_wrong_setting(how, said, tmp_path):
    mark = tmp_path / "mark"
    patience = Patience(start_s=0.3 if how == "mute_start" else 30, end_s=0.2)

    with pytest.raises(SettingsError, match=said):
        async with opened(how, mark, patience=patience):
            pass

    assert alive(str(mark)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exec:", "names no program"),
        ("exec:'open", "cannot be read"),
        ("exec:/nowhere/signer --secret x", "signer cannot be started: No such file"),
        ("exec:/etc", "cannot be started: Permission denied"),
        ("exec:a\0b", "cannot be started"),
        (f"exec:signer {KEY}", "holds the key itself"),
    ],
)
async def test_a_command_that_cannot_be_started_is_a_wrong_setting(text, said):
    with pytest.raises(SettingsError, match=said) as caught:
        async with opened_signer(text):
            pass

    assert "secret" not in str(caught.value)
    assert str(KEY) not in str(caught.value)


async def test_no_shell_reads_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "made"

    async with opened_signer(f"{source('well')} ; touch {made} $(touch {made})", QUICK) as signer:
        assert signer.address == ADDRESS

    assert not made.exists()


async def test_a_program_that_died_is_started_again_and_asked_again(tmp_path):
    counter = tmp_path / "starts"

    async with opened("die_once", counter) as signer:
        assert await signer.sign(b"message") == bytes(KEY.sign_message(b"message"))

    assert counter.read_text() == ".."


async def test_one_that_ends_after_each_answer_goes_on_signing(tmp_path):
    async with opened("one_each", tmp_path / "starts") as signer:
        for n in range(3):
            message = bytes([n])
            assert await signer.sign(message) == bytes(KEY.sign_message(message))


async def test_a_silent_program_is_replaced_and_its_late_answer_not_taken(tmp_path):
    async with opened("slow_once", tmp_path / "starts", patience=HASTY) as signer:
        with pytest.raises(GuardError, match="no answer within"):
            await signer.sign(b"message")

        with suppress(GuardError):  # on a busy machine the new one may be too late as well
            assert await signer.sign(b"another") == bytes(KEY.sign_message(b"another"))
        assert (tmp_path / "starts").read_text() == ".."


async def test_a_question_that_is_given_up_leaves_no_answer_behind(tmp_path):
    counter = tmp_path / "starts"
    async with opened("slow_once", counter) as signer:
        asking = asyncio.create_task(signer.sign(b"given up"))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert await signer.sign(b"message") == bytes(KEY.sign_message(b"message"))


async def test_starts_are_bounded_and_tried_again_after_a_pause(tmp_path):
    counter = tmp_path / "starts"
    patience = Patience(start_s=30, sign_s=30, end_s=0.3, starts_max=2)
    async with opened("die_always", counter, patience=patience) as signer:
        assert isinstance(signer, ExternalSigner)
        said = []
        for _ in range(4):
            with pytest.raises(GuardError) as caught:
                await signer.sign(b"message")
            said.append(str(caught.value))
        assert len(counter.read_text()) == 3  # the first, and two more
        assert "never signed" in said[-1]

        signer._started_s -= patience.pause_s
        with pytest.raises(GuardError):
            await signer.sign(b"message")
        assert len(counter.read_text()) == 4


async def test_a_program_that_comes_back_with_another_key_is_not_used(tmp_path):
    async with opened("other_key_later", tmp_path / "starts") as signer:
        with pytest.raises(GuardError, match="another key"):
            await signer.sign(b"message")


async def test_a_refusal_is_told_without_what_it_might_give_away(tmp_path):
    async with opened("refuse_odd", tmp_path / "starts") as signer:
        with pytest.raises(SignerRefused, match="refuses to sign: not") as caught:
            await signer.sign(b"message")
        assert await signer.sign(b"message") == bytes(KEY.sign_message(b"message"))

    said = str(caught.value)
    assert str(KEY) not in said
    assert ", ".join(map(str, bytes(KEY)[:3])) not in said
    assert said.isprintable()
    assert (tmp_path / "starts").read_text() == "."


async def test_questions_at_once_are_asked_one_after_the_other():
    async with opened("well") as signer, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(signer.sign(bytes([n]))) for n in range(5)]

    for n, task in enumerate(asked):
        assert task.result() == bytes(KEY.sign_message(bytes([n])))


async def test_what_it_says_on_stderr_is_logged_without_secrets():
    with capture_logs() as logs:
        async with opened("noisy") as signer:
            await signer.sign(b"message")

    said = [entry["text"] for entry in logs if entry["event"] == "signer_said"]
    assert said == ["?[2Junlocked …"] * 3
    assert {entry["log_level"] for entry in logs} == {"debug"}


@pytest.mark.parametrize("how", ["well", "stubborn", "chatty"])
async def test_the_program_ends_with_us(how, tmp_path):
    mark = tmp_path / "mark"

    async with asyncio.timeout(30):
        async with opened(how, mark):
            assert len(alive(str(mark))) == 1

    assert alive(str(mark)) == []


async def test_core_dumps_of_the_program_are_off_too(tmp_path):
    mark = tmp_path / "mark"

    async with opened("well", mark):
        (number,) = alive(str(mark))
        assert resource.prlimit(number, resource.RLIMIT_CORE) == (0, 0)
        assert os.getsid(number) == number


async def test_it_shows_copies_and_pickles_nothing():
    async with opened("well") as signer:
        assert isinstance(signer, ExternalSigner)
        assert repr(signer) == f"ExternalSigner({ADDRESS})"
        for way_out in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(GuardError):
                way_out(signer)
