"""The token file: what is in it, who may read it, how it is made."""

import pytest

from liqctl.errors import SettingsError
from liqctl.ports import SystemClock, SystemRng
from liqctl.server.token import TokenFile, Verdict, make_token_file, open_tokens, own_token_path
from liqctl.testing import ManualClock

GOOD = "g" * 32


def token_file(tmp_path, content, mode=0o600):
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "1 to 8 tokens"),
        ("\n\n", "1 to 8 tokens"),
        ("\n".join("abcdefghi"[i] * 32 for i in range(9)), "1 to 8 tokens"),
        (GOOD * 200, "no token|1 to 8 tokens"),
        ("SECRETSECRET", "a token of 12 characters; at least 32"),
        ("SECRET SECRET SECRET SECRET SECRET SECRET", "no token"),
        ("SECRETSECRETSECRETSECRETSECRETSECR\u00c9T", "no token"),
        (f"{GOOD} expires=soon", "such as 2027-01-31T00:00:00Z, was soon"),
        (f"{GOOD} expires=2027-01-31T00:00:00", "such as 2027-01-31T00:00:00Z"),
        (f"{GOOD} until=2027-01-31T00:00:00Z", "no token"),
    ],
)
def test_what_is_no_token_is_refused_and_not_shown(tmp_path, content, reason):
    path = token_file(tmp_path, content)

    with pytest.raises(SettingsError, match=reason) as refusal:
        TokenFile(path, SystemClock())

    assert "SECRET" not in str(refusal.value)
    assert GOOD not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    path = token_file(tmp_path, GOOD, mode)

    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        TokenFile(path, SystemClock())


def test_a_link_in_a_shared_folder_is_refused(tmp_path):
    path = token_file(tmp_path, GOOD)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "token").symlink_to(path)

    with pytest.raises(SettingsError, match="is a link"):
        TokenFile(shared / "token", SystemClock())


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(SettingsError, match=r"no token file at .*openssl rand -hex 32 > "):
        TokenFile(tmp_path / "none", SystemClock())


def test_the_token_is_compared_as_a_whole(tmp_path):
    tokens = TokenFile(token_file(tmp_path, f"  {GOOD}\t\n\n{'h' * 33}\n"), SystemClock())

    offered = [GOOD, "h" * 33, GOOD[:-1], GOOD + "g", "h" * 32, "", f"{GOOD}\n{'h' * 33}"]

    assert [tokens.check(each.encode()) is Verdict.VALID for each in offered] == [
        *(True, True),
        *(False,) * 5,
    ]


def test_the_token_is_kept_nowhere_in_memory(tmp_path):
    tokens = TokenFile(token_file(tmp_path, GOOD), SystemClock())

    assert GOOD not in repr(vars(tokens))


def test_on_loopback_a_private_token_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    first = open_tokens(None, public_host=None, clock=SystemClock(), rng=SystemRng())
    made = own_token_path()
    found = made.read_text().strip()
    second = open_tokens(None, public_host=None, clock=SystemClock(), rng=SystemRng())

    for tokens in (first, second):
        assert tokens is not None
        assert tokens.check(found.encode()) is Verdict.VALID
    assert made.is_relative_to(tmp_path)
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(found) == 64
    assert [each.name for each in made.parent.iterdir()] == ["token"]


def test_where_no_token_can_be_made_the_server_reads_on(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    assert open_tokens(None, public_host=None, clock=SystemClock(), rng=SystemRng()) is None


async def test_two_servers_that_start_at_once_end_up_with_one_token(tmp_path):
    rng, clock = SystemRng(seed=1), ManualClock()
    make_token_file(tmp_path / "token", rng)
    first = TokenFile(tmp_path / "token", clock)
    (tmp_path / "token").rename(tmp_path / "earlier")
    make_token_file(tmp_path / "token", rng)

    now = (tmp_path / "token").read_text().strip()
    await clock.advance(1)

    assert first.check(now.encode()) is Verdict.VALID


def test_a_public_bind_without_a_token_file_is_refused_with_the_remedy():
    with pytest.raises(SettingsError, match=r"--host 192\.0\.2\.1 .*--token-file FILE"):
        open_tokens(None, public_host="192.0.2.1", clock=SystemClock(), rng=SystemRng())
