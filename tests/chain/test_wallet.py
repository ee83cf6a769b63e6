"""Signing sources and the rules for key files."""

import base64
import copy
import io
import json
import os
import pickle
from pathlib import Path

import pytest
from solders.keypair import Keypair

from liqctl.chain.inline_key import holds_key
from liqctl.chain.wallet import KeySigner, WatchOnly, load_signer
from liqctl.errors import GuardError, SettingsError
from tests.chain.scripted import ADDRESSES

KEYPAIR = Keypair.from_seed(bytes(range(32)))
ADDRESS = str(KEYPAIR.pubkey())
NUMBERS = list(bytes(KEYPAIR))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return written(tmp_path / "id.json", json.dumps(NUMBERS))


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_key_file_becomes_a_signer_that_signs(key_file):
    signer = load_signer(str(key_file))

    signature = await signer.sign(b"message")

    assert signer.address == ADDRESS
    assert signature == bytes(KEYPAIR.sign_message(b"message"))
    assert load_signer(f"file:{key_file}").address == ADDRESS


def test_a_home_folder_is_found(key_file, monkeypatch):
    monkeypatch.setenv("HOME", str(key_file.parent))

    assert load_signer("~/id.json").address == ADDRESS


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o777, 0o420 | 0o400 | 0o010])
def test_a_key_file_open_to_others_is_refused_and_the_remedy_named(key_file, mode):
    key_file.chmod(mode)

    with pytest.raises(SettingsError, match=f"run: chmod 600 {key_file}"):
        load_signer(str(key_file))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_file_of_ones_own_is_taken(key_file, mode):
    key_file.chmod(mode)

    assert load_signer(str(key_file)).address == ADDRESS


def test_a_missing_key_file_suggests_how_to_make_one(tmp_path):
    path = tmp_path / "none.json"

    with pytest.raises(SettingsError, match=f"solana-keygen new -o {path}"):
        load_signer(str(path))


def test_a_key_file_of_somebody_else_is_refused(key_file, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(SettingsError, match="belongs to user"):
        load_signer(str(key_file))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_that_was_given_away_is_refused_to_root_as_well(key_file):
    os.chown(key_file, 12345, -1)

    with pytest.raises(SettingsError, match="belongs to user 12345"):
        load_signer(str(key_file))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_key_file_is_a_settings_error(key_file):
    key_file.chmod(0)

    with pytest.raises(SettingsError, match="cannot be read"):
        load_signer(str(key_file))


def test_a_folder_is_no_key_file(tmp_path):
    with pytest.raises(SettingsError):
        load_signer(str(tmp_path))


def test_a_pipe_is_no_key_file_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(SettingsError, match="no regular file"):
        load_signer(str(tmp_path / "pipe"))


@pytest.mark.parametrize("source", ["a\0b", "~nobodyatall/id.json", "", "   "])
def test_an_impossible_path_is_a_settings_error(source):
    with pytest.raises(SettingsError):
        load_signer(source)


def test_a_link_in_a_folder_of_ones_own_is_followed(key_file):
    link = key_file.parent / "link.json"
    link.symlink_to(key_file)

    assert load_signer(str(link)).address == ADDRESS


@pytest.mark.parametrize("shared", ["link", "target"])
def test_a_link_from_or_into_a_shared_folder_is_refused(tmp_path, shared):
    folders = {name: tmp_path / name for name in ("link", "target")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    key = written(folders["target"] / "id.json", json.dumps(NUMBERS))
    link = folders["link"] / "id.json"
    link.symlink_to(key)
    folders[shared].chmod(0o777)

    with pytest.raises(SettingsError, match="is a link"):
        load_signer(str(link))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_in_a_shared_folder_on_the_way_is_refused(tmp_path, kind):
    for name in ("own", "shared", "keys"):
        (tmp_path / name).mkdir(mode=0o700)
    key = written(tmp_path / "keys" / "id.json", json.dumps(NUMBERS))
    between, first = tmp_path / "shared" / "between", tmp_path / "own" / "first"
    between.symlink_to(key if kind == "file" else key.parent)
    first.symlink_to(between)
    named = first if kind == "file" else first / "id.json"
    assert load_signer(str(named)).address == ADDRESS
    (tmp_path / "shared").chmod(0o1777)

    with pytest.raises(SettingsError, match=f"others may write to {between.parent}"):
        load_signer(str(named))


def test_a_loop_of_links_is_a_settings_error(tmp_path):
    link = tmp_path / "loop"
    link.symlink_to(link)

    with pytest.raises(SettingsError, match="cannot be read"):
        load_signer(str(link))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        "[1, 2",
        b"\xff\xfe",
        "[" * 4000,
        json.dumps(NUMBERS[:63]),
        json.dumps([*NUMBERS, 1]),
        json.dumps([*NUMBERS[:63], 256]),
        json.dumps([*NUMBERS[:63], -1]),
        json.dumps([*NUMBERS[:63], 1.5]),
        json.dumps([*NUMBERS[:63], "1"]),
        json.dumps([*NUMBERS[:63], True]),
        json.dumps([*NUMBERS[:63], None]),
    ],
)
def test_a_malformed_key_file_is_refused_without_showing_it(tmp_path, content):
    path = written(tmp_path / "id.json", content)

    with pytest.raises(SettingsError, match="64 numbers") as caught:
        load_signer(str(path))

    assert str(NUMBERS[5]) + ", " + str(NUMBERS[6]) not in str(caught.value)
    assert caught.value.__cause__ is None


def test_halves_that_do_not_match_are_refused(tmp_path):
    other = list(bytes(Keypair.from_seed(bytes(32))))
    path = written(tmp_path / "id.json", json.dumps(NUMBERS[:32] + other[32:]))

    with pytest.raises(SettingsError, match="does not match"):
        load_signer(str(path))


def test_a_large_file_is_no_key_file(tmp_path):
    path = written(tmp_path / "id.json", " " * 5000)

    with pytest.raises(SettingsError, match="too large"):
        load_signer(str(path))


@pytest.mark.parametrize("source", ["-", "stdin:"])
def test_a_key_may_come_on_standard_input(source):
    assert load_signer(source, stdin=io.StringIO(json.dumps(NUMBERS))).address == ADDRESS


def test_an_endless_standard_input_is_cut_off():
    with pytest.raises(SettingsError, match="standard input is too large"):
        load_signer("-", stdin=io.StringIO("1" * 100_000))


def test_a_standard_input_that_is_no_text_is_a_settings_error():
    with pytest.raises(SettingsError, match="standard input cannot be read"):
        load_signer("-", stdin=io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))


async def test_a_bare_address_looks_and_never_signs():
    signer = load_signer(ADDRESSES[0])

    assert isinstance(signer, WatchOnly)
    assert signer.address == ADDRESSES[0]
    with pytest.raises(GuardError, match="cannot sign"):
        await signer.sign(b"message")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("exec:/usr/bin/signer", "is a program to be started"),
        ("http://127.0.0.1:9000", "over the network"),
        ("https://signer.example", "over the network"),
        ("usb://ledger", "not supported"),
    ],
)
def test_a_source_that_is_not_supported_says_so(source, reason):
    with pytest.raises(SettingsError, match=reason):
        load_signer(source)


PHRASE = "abandon " * 11 + "about"


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("prompt:?key=0/0", "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"),
        ("prompt://?key=0'/0'", "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"),
        ("prompt:?full-path=m/44'/501'/0'/0'", "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"),
        ("prompt:?key=0", "GjJyeC1r2RgkuoCWMyPYkCWSGSGLcz266EaAkLA27AhL"),
    ],
)
def test_a_seed_phrase_gives_the_addresses_that_wallets_show(source, address):
    answers = iter([f"  {PHRASE} \n", ""])

    assert load_signer(source, stdin=Terminal(), ask=lambda _: next(answers)).address == address


def test_the_old_word_and_the_bare_prompt_derive_differently():
    def loaded(source: str) -> str:
        answers = iter([PHRASE, ""])
        return load_signer(source, stdin=Terminal(), ask=lambda _: next(answers)).address

    assert loaded("ASK") != loaded("prompt:")


@pytest.mark.parametrize(
    "source",
    [
        "prompt:?full-path=x",
        "prompt:?full-path=44/501",
        "prompt:?full-path=m/44'/501'/99999999999'",
        "prompt:?key=a",
        "prompt:?key=0/0/0",
        "prompt:?key=0&full-path=m/44'",
        "prompt:?other=1",
    ],
)
def test_a_wrong_derivation_path_is_refused_before_anything_is_asked(source):
    with pytest.raises(SettingsError, match="prompt:"):
        load_signer(source, stdin=Terminal(), ask=lambda _: pytest.fail("asked"))


def test_too_few_words_are_no_seed_phrase():
    with pytest.raises(SettingsError, match="3 were given"):
        load_signer("prompt:", stdin=Terminal(), ask=lambda _: "one two three")


def test_no_answer_is_no_seed_phrase():
    def ask(_: str) -> str:
        raise EOFError

    with pytest.raises(SettingsError, match="no seed phrase"):
        load_signer("prompt:", stdin=Terminal(), ask=ask)


def test_a_prompt_needs_a_terminal():
    with pytest.raises(SettingsError, match="terminal"):
        load_signer("prompt:", stdin=io.StringIO(PHRASE))


def test_a_signer_shows_copies_and_pickles_no_secret():
    signer = KeySigner(KEYPAIR)

    for shown in (repr(signer), str(signer), f"{signer!r}"):
        assert shown == f"KeySigner({ADDRESS})"
    for way_out in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(GuardError):
            way_out(signer)
    with pytest.raises(TypeError):
        vars(signer)
    with pytest.raises(TypeError):
        json.dumps(signer)


INLINE = [
    str(KEYPAIR),
    json.dumps(NUMBERS),
    json.dumps(NUMBERS[:32]),
    ",".join(map(str, NUMBERS)),
    bytes(KEYPAIR).hex(),
    bytes(KEYPAIR)[:32].hex().upper(),
    base64.b64encode(bytes(KEYPAIR)).decode(),
    base64.b64encode(bytes(KEYPAIR)[:32]).decode(),
    base64.urlsafe_b64encode(bytes(KEYPAIR)).decode().rstrip("="),
    "file:" + str(KEYPAIR),
    f"exec:signer --key={KEYPAIR}",
    f"exec:signer {json.dumps(NUMBERS)}",
    "exec:signer --phrase '" + "abandon " * 11 + "about'",
    "abandon " * 11 + "about",
]


@pytest.mark.parametrize("source", INLINE)
def test_a_source_that_is_the_key_itself_is_refused_and_not_repeated(source):
    with pytest.raises(SettingsError, match="holds the key itself") as caught:
        load_signer(source)

    for word in source.removeprefix("exec:signer ").split():
        assert len(word) < 3 or word not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        ADDRESS,
        "~/keys/liquidator.json",
        "/srv/a/rather/long/path/to/the/key/files/of/our/keepers/on/this/host/liquidator-0001",
        "prompt:?key=0/0",
        "exec:ssh -i ~/.ssh/id vault sign --slot 3 --policy liquidations",
        "exec:vault-sign https://vault.example:8200/v1/transit/sign/liquidator",
    ],
)
def test_a_source_that_names_the_key_is_not_taken_for_one(source):
    assert not holds_key(source)
