"""Settings: layers, origins, refusals; and the commands that show them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from liqctl.cli import app
from liqctl.cli.connect import tuning_of
from liqctl.config import Files, Loaded, Settings, load, log_levels
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.errors import SettingsError


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    """A home and a working directory without any settings."""
    for name in ("SOLANA_RPC_URL", "WALLET_PATH", "DATABASE_URL", "SERVER_PORT", "RUST_LOG"):
        monkeypatch.delenv(name, raising=False)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LIQCTL_{name.upper()}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def loaded(
    options: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    *,
    config: Path | None = None,
    env_file: Path | None = None,
) -> Loaded:
    return load(options or {}, environment or {}, Files.locate(config=config, env_file=env_file))


def test_a_stronger_layer_wins_and_is_remembered(empty_home):
    solana = write(
        empty_home / ".config/solana/cli/config.yml", "json_rpc_url: http://solana-cli:1\n"
    )
    user = write(empty_home / ".config/liqctl/liqctl.toml", 'rpc_url = "http://user:1"')
    own = write(Path("liqctl.toml"), 'rpc_url = "http://own:1"')
    env_file = write(
        empty_home / "set.env", "LIQCTL_RPC_URL=http://f-own:1\nSOLANA_RPC_URL=http://f-compat:1\n"
    )
    environment = {"LIQCTL_RPC_URL": "http://env-own:1", "SOLANA_RPC_URL": "http://env-compat:1"}
    options: dict[str, object] = {"rpc_url": "http://flag:1"}
    seen = []

    def note(*arguments, **keywords):
        result = loaded(*arguments, **keywords)
        seen.append((result.settings.rpc_url, result.origins["rpc_url"]))

    note(options, environment, env_file=env_file)
    note({}, environment, env_file=env_file)
    note({}, {"SOLANA_RPC_URL": "http://env-compat:1"}, env_file=env_file)
    note(env_file=env_file)
    env_file.write_text("# ours is gone\nexport SOLANA_RPC_URL='http://f-compat:1'\n")
    note(env_file=env_file)
    note()
    own.unlink()
    note()
    user.unlink()
    note()
    solana.unlink()
    note()

    assert seen == [
        ("http://flag:1", "--url"),
        ("http://env-own:1", "LIQCTL_RPC_URL"),
        ("http://env-compat:1", "SOLANA_RPC_URL"),
        ("http://f-own:1", f"{env_file}: LIQCTL_RPC_URL"),
        ("http://f-compat:1", f"{env_file}: SOLANA_RPC_URL"),
        ("http://own:1", "liqctl.toml"),
        ("http://user:1", str(user)),
        ("http://solana-cli:1", str(solana)),
        ("https://api.mainnet-beta.solana.com", "default"),
    ]


def test_files_are_merged_setting_by_setting(empty_home):
    write(empty_home / ".config/liqctl/liqctl.toml", "max_retries = 7\nmax_in_flight = 9")
    write(Path("liqctl.toml"), "max_retries = 1")

    settings = loaded().settings

    assert (settings.max_retries, settings.max_in_flight) == (1, 9)


def test_an_env_file_is_never_picked_up_by_itself(empty_home):
    write(Path(".env"), "LIQCTL_MAX_RETRIES=9")

    assert loaded().settings.max_retries == 3


def test_the_names_of_other_tools_are_understood():
    environment = {
        "SOLANA_RPC_URL": "devnet",
        "WALLET_PATH": "/keys/id.json",
        "DATABASE_URL": "sqlite:///var/x.db",
        "SERVER_PORT": "9000",
        "RUST_LOG": "warn,liqctl::chain=trace",
    }

    settings = loaded({}, environment).settings

    assert settings.rpc_url == "https://api.devnet.solana.com"
    assert settings.keypair == "/keys/id.json"
    assert settings.database_url == "sqlite:///var/x.db"
    assert settings.server_port == 9000
    assert log_levels(settings.log_level) == {"": "warn", "liqctl.chain": "trace"}


def test_all_four_values_of_the_solana_command_line_are_read(empty_home):
    path = write(
        empty_home / "other.yml",
        "json_rpc_url: http://localhost:8899\nwebsocket_url: ws://localhost:9\n"
        "keypair_path: /keys/a.json\ncommitment: finalized\naddress_labels: {}\n",
    )

    settings = loaded(config=path).settings

    assert (settings.rpc_url, settings.ws_url) == ("http://localhost:8899", "ws://localhost:9")
    assert (settings.keypair, settings.commitment) == ("/keys/a.json", "finalized")


def test_an_endpoint_is_never_paired_with_the_websocket_of_a_weaker_layer(empty_home):
    write(
        empty_home / ".config/solana/cli/config.yml",
        "json_rpc_url: https://a.example\nwebsocket_url: wss://a.example/stream\n",
    )

    result = loaded({"rpc_url": "l"})

    assert result.settings.ws_url == "ws://localhost:8900"
    assert result.origins["ws_url"] == "derived from rpc_url"
    assert loaded().settings.ws_url == "wss://a.example/stream"


def test_further_endpoints_are_listed_in_a_variable_or_a_file_or_by_repeated_options(empty_home):
    write(Path("liqctl.toml"), 'rpc_fallback_urls = ["https://a.example/K1", "d"]\nsend_urls = []')
    listed = {"LIQCTL_SEND_URLS": "https://c.example/K3, https://d.example"}

    from_file = loaded({}, listed)
    given = loaded({"rpc_fallback_urls": ["https://b.example/K2"]})

    assert from_file.settings.rpc_fallback_urls == (
        "https://a.example/K1",
        "https://api.devnet.solana.com",
    )
    assert from_file.settings.send_urls == ("https://c.example/K3", "https://d.example")
    assert from_file.origins["send_urls"] == "LIQCTL_SEND_URLS"
    assert given.settings.rpc_fallback_urls == ("https://b.example/K2",)
    assert given.origins["rpc_fallback_urls"] == "--fallback-url"


def test_each_endpoint_counts_once_and_brings_its_websocket_address():
    settings = loaded(
        {
            "rpc_url": "http://localhost:8899",
            "rpc_fallback_urls": ["https://a.example/K1", "l", "https://a.example/K1"],
        }
    ).settings

    assert settings.rpc_urls == ("http://localhost:8899", "https://a.example/K1")
    assert settings.ws_urls == ("ws://localhost:8900", "wss://a.example/K1")


def test_an_endpoint_is_never_paired_with_the_further_ones_of_a_weaker_layer(empty_home):
    write(
        Path("liqctl.toml"),
        'rpc_url = "m"\nrpc_fallback_urls = ["https://a.example"]\nsend_urls = ["https://a.example"]',
    )

    result = loaded({"rpc_url": "l"}).settings

    assert (result.rpc_fallback_urls, result.send_urls) == ((), ())
    assert loaded().settings.rpc_fallback_urls == ("https://a.example",)


@pytest.mark.parametrize(
    ("moniker", "rpc", "ws"),
    [
        ("m", "https://api.mainnet-beta.solana.com", "wss://api.mainnet-beta.solana.com"),
        ("testnet", "https://api.testnet.solana.com", "wss://api.testnet.solana.com"),
        ("localnet", "http://localhost:8899", "ws://localhost:8900"),
        ("https://h.example:80/k?x=1", None, "wss://h.example:81/k?x=1"),
        ("http://[::1]:8899", None, "ws://[::1]:8900"),
    ],
)
def test_monikers_and_derived_websocket_addresses(moniker, rpc, ws):
    settings = loaded({"rpc_url": moniker}).settings

    assert (settings.rpc_url, settings.ws_url) == (rpc or moniker, ws)


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ({"rpc_url": "ftp://x"}, {}, "--url must be a URL that starts with http://"),
        ({"rpc_url": "http://a b"}, {}, "--url must be a URL"),
        ({"rpc_url": "http://h:99999"}, {}, "--url must be a URL"),
        ({"ws_url": "http://h"}, {}, "--ws must be a URL that starts with ws:// or wss://, was http://h"),
        ({"rpc_fallback_urls": ["x"]}, {}, "--fallback-url must be a URL that starts with http://"),
        ({}, {"LIQCTL_SEND_URLS": "https://h,ws://h"}, "send_urls must be a URL"),
        ({}, {"LIQCTL_RPC_REQUESTS_PER_S": "0"}, "rpc_requests_per_s must be greater than or equal to 1"),
        ({"commitment": "max"}, {}, "--commitment must be 'processed', 'confirmed' or 'finalized', was max"),
        ({"program_id": "0OIl"}, {}, "--program-id must be a public key in base58, was 0OIl"),
        ({"database_url": "x.db"}, {}, "--database must be sqlite:FILE"),
        ({"database_url": "sqlite:"}, {}, "--database must be sqlite:FILE"),
        ({"database_url": "sqlite:///"}, {}, "--database must be sqlite:FILE"),
        ({}, {"RUST_LOG": "loud"}, "log_level must be one of off, error"),
        ({}, {"LIQCTL_MAX_RETRIES": "-1"}, "max_retries must be greater than or equal to 0, was -1 (LIQCTL_MAX_RETRIES)"),
        ({}, {"SERVER_PORT": "70000"}, "server_port must be less than or equal to 65535, was 70000 (SERVER_PORT)"),
        ({}, {"LIQCTL_CHECK_INTERVAL_MS": "2s"}, "check_interval_ms must be a valid integer"),
        ({}, {"LIQCTL_COMPUTE_UNIT_LIMIT": "1400000"}, "max_fee_lamports must be at least 1400000"),
        ({}, {"LIQCTL_SPEND_DAY_LAMPORTS": "1"}, "spend_hour_lamports must not exceed spend_day_lamports"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_origin(options, environment, message):
    with pytest.raises(SettingsError) as refusal:
        loaded(options, environment)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_retrys = 1", "liqctl.toml: unknown setting max_retrys; did you mean max_retries?"),
        ("zzz = 1", "liqctl.toml: unknown setting zzz; see `liqctl config show`"),
        ("[keeper]\nmax_retries = 1", "liqctl.toml: unknown setting keeper"),
        ("max_retries = true", "max_retries must be a whole number, was True (liqctl.toml)"),
        ("max_retries =", "liqctl.toml is not valid TOML"),
        ("max_retries = " + "9" * 5_000, "liqctl.toml is not valid TOML"),
        ("max_retries = " + "[" * 20_000, "liqctl.toml is not valid TOML"),
        ("#" * 2**20 + "\n", "liqctl.toml is too large for settings"),
    ],
)
def test_our_own_file_is_read_strictly(text, message):
    write(Path("liqctl.toml"), text)

    with pytest.raises(SettingsError) as refusal:
        loaded()

    assert message in str(refusal.value)


def test_a_named_file_must_exist():
    for config, env_file in (
        (Path("no.toml"), None),
        (Path("no.yml"), None),
        (None, Path("no.env")),
    ):
        with pytest.raises(SettingsError, match="cannot read no"):
            loaded(config=config, env_file=env_file)


@pytest.mark.parametrize(
    "text",
    [
        *("- a\n", "a: [\n", "just words\n", "a: 2020-13-45\n"),
        *(f"json_rpc_url: {'9' * 5_000}\n", "a: " + "[" * 5_000),
    ],
    ids=["list", "open", "words", "date", "number", "nested"],
)
def test_a_damaged_file_of_the_solana_command_line_is_named(empty_home, text):
    path = write(empty_home / ".config/solana/cli/config.yml", text)

    with pytest.raises(SettingsError, match=str(path)):
        loaded()


def test_a_damaged_env_file_is_refused_with_its_line(empty_home):
    path = write(empty_home / "x.env", "A=1\nwhat is this\n")

    with pytest.raises(SettingsError, match="line 2: expected NAME=VALUE"):
        loaded(env_file=path)


def test_the_default_priority_fee_is_two_ten_thousandths_of_a_sol():
    settings = loaded().settings

    assert settings.priority_fee_lamports == 200_000
    assert loaded({}, {"LIQCTL_COMPUTE_UNIT_LIMIT": "1001", "LIQCTL_PRIORITY_FEE_MICRO_LAMPORTS_PER_CU": "1"}).settings.priority_fee_lamports == 1  # fmt: skip


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        loaded().settings.max_retries = 4


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="liqctl", env=environment)


def test_show_prints_every_setting_with_its_origin():
    result = run("config", "show", "--origin", "--json", "-u", "d", SERVER_PORT="81")

    shown = json.loads(result.stdout)
    assert list(shown) == list(Settings.model_fields)
    assert shown["rpc_url"] == {"value": "https://api.devnet.solana.com", "origin": "--url"}
    assert shown["server_port"] == {"value": 81, "origin": "SERVER_PORT"}
    assert (result.exit_code, result.stderr) == (0, "")


def test_show_prints_a_table_for_people():
    lines = run("config", "show", "--origin", "-u", "d").stdout.splitlines()

    assert lines[0].split() == ["setting", "value", "origin"]
    assert lines[1].split() == ["rpc_url", "https://api.devnet.solana.com", "--url"]


def test_no_secret_of_a_url_is_shown():
    result = run(
        "config", "show", "--json", "-u", "https://me:PW@rpc.example/SECRET?api-key=SECRET",
        "--fallback-url", "https://b.example/SECRET", "--send-url", "https://c.example/SECRET",
        DATABASE_URL="postgresql://me:PW@db/x",
    )  # fmt: skip

    shown = json.loads(result.stdout)
    assert shown["rpc_url"] == "https://rpc.example/..."
    assert shown["ws_url"] == "wss://rpc.example/..."
    assert "SECRET" not in result.output
    assert "PW" not in result.output


def test_a_home_that_cannot_be_looked_at_is_refused_and_listed(empty_home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty_home / ("a" * 300)))

    refused, listed = run("config", "show"), run("config", "path", "--json")

    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "liqctl.toml: File name too long; is HOME that of another user?" in refused.stderr
    assert json.loads(listed.stdout)[1]["exists"] is None


def test_path_lists_the_files_the_strongest_first(empty_home):
    write(Path("liqctl.toml"), "")

    shown = json.loads(run("config", "path", "--json").stdout)

    assert shown == [
        {"path": "liqctl.toml", "exists": True},
        {"path": str(empty_home / ".config/liqctl/liqctl.toml"), "exists": False},
        {"path": str(empty_home / ".config/solana/cli/config.yml"), "exists": False},
    ]


def test_verbose_is_weaker_than_a_level():
    assert json.loads(run("config", "show", "--json", "-v").stdout)["log_level"] == "debug"
    assert json.loads(run("config", "show", "--json", "-vv").stdout)["log_level"] == "trace"
    assert (
        json.loads(run("config", "show", "--json", "-v", "--log-level", "error").stdout)[
            "log_level"
        ]
        == "error"
    )


def test_the_limits_of_sending_reach_the_keeper_as_they_are_set():
    environment = {
        "LIQCTL_PRIORITY_FEE_MODE": "dynamic",
        "LIQCTL_PRIORITY_FEE_PERCENTILE": "90",
        "LIQCTL_FEE_ABOVE_REWARD": "true",
        "LIQCTL_MAX_FEE_LAMPORTS": "250000",
        "LIQCTL_COMPUTE_UNIT_MARGIN_PERCENT": "35",
        "LIQCTL_PROFIT_FLOOR_PERMILLE": "2000",
        "LIQCTL_SOL_PRICE_USD": "142.5",
        "LIQCTL_MAX_SENDS_PER_S": "7",
        "LIQCTL_BREAKER_FAILURES_MAX": "9",
        "LIQCTL_BREAKER_UNPROFITABLE_MAX": "4",
    }

    tuning = tuning_of(loaded(environment=environment).settings)

    fees, limits, breaker = tuning.fees, tuning.limits, tuning.breaker
    assert (fees.dynamic, fees.percentile, fees.above_reward) == (True, 90, True)
    assert (fees.cap_lamports, fees.compute_unit_margin_percent) == (250_000, 35)
    assert (limits.profit_floor_permille, limits.sol_price_e6) == (2_000, 142_500_000)
    assert limits.sends_per_second_max == 7
    assert (breaker.failures_max, breaker.unprofitable_max) == (9, 4)


def test_without_settings_the_limits_of_sending_are_the_safe_ones():
    tuning = tuning_of(loaded().settings)

    fees, limits, breaker = tuning.fees, tuning.limits, tuning.breaker
    assert (fees.dynamic, fees.cap_lamports, fees.above_reward) == (False, 200_000, False)
    assert (limits.hour_lamports, limits.day_lamports) == (50_000_000, 500_000_000)
    assert (limits.balance_lamports_min, limits.in_flight_max) == (50_000_000, 4)
    assert (limits.profit_floor_permille, limits.sol_price_e6) == (1_000, None)
    assert limits.sends_per_second_max == 20
    assert (breaker.failures_max, breaker.unprofitable_max, breaker.pause_ms) == (5, 3, 60_000)


@pytest.mark.parametrize(
    ("given", "price_e6"),
    [("142.5", 142_500_000), (142.5, 142_500_000), (142, 142_000_000), ("0.000001", 1)],
)
def test_the_price_of_sol_is_taken_exactly(given, price_e6):
    assert loaded({"sol_price_usd": given}).settings.sol_price_e6 == price_e6


@pytest.mark.parametrize(
    "given", ["0", "0.0", "-1", "nan", "inf", "1e3", "1.0000001", "10000000000", "x", "", True]
)
def test_a_price_of_sol_that_is_none_is_refused(given):
    with pytest.raises(SettingsError, match="a positive number with at most six places"):
        loaded({"sol_price_usd": given})


FEED = "ab" * 32
MARKETS = f"""
hermes_url = "https://prices.example/hermes"
price_band_bps = 50
price_max_age_s = 30
[markets.SOL]
price_sources = ["hermes", "program", "hermes"]
price_sources_min = 2
feed_id = "0x{FEED.upper()}"
price_max_age_s = 90
price_confidence_multiple_permille = 0
[markets."BTC-PERP"]
price_sources = ["program"]
"""


def test_a_market_has_terms_of_its_own_and_the_usual_ones_beside(empty_home):
    write(Path("liqctl.toml"), MARKETS)

    limits = tuning_of(loaded().settings).limits

    assert limits.prices_of("SOL") == PriceTerms(
        sources=(SourceName.HERMES, SourceName.PROGRAM),
        sources_min=2,
        feed_id=FEED,
        age_s_max=90,
        band_bps_max=50,
        confidence_permille=0,
    )
    usual = PriceTerms(
        sources=(SourceName.PROGRAM, SourceName.HERMES), age_s_max=30, band_bps_max=50
    )
    assert limits.prices_of("BTC-PERP") == replace(usual, sources=(SourceName.PROGRAM,))
    assert limits.prices_of("ETH") == usual


def test_without_a_price_service_prices_are_those_of_the_chain():
    assert tuning_of(loaded().settings).limits.prices == PriceTerms()


def test_a_variable_holds_the_markets_as_json():
    told = json.dumps({"SOL": {"price_max_age_s": 90, "price_sources": "program,push_feed"}})

    settings = loaded({}, {"LIQCTL_MARKETS": told}).settings

    terms = tuning_of(settings).limits.prices_of("SOL")
    assert (terms.age_s_max, terms.sources) == (90, (SourceName.PROGRAM, SourceName.PUSH_FEED))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[markets.SOL]\nprice_max_age = 5", r"^markets.SOL.price_max_age is no setting; there is"),
        ("[markets.SOL]\nprice_max_age_s = 0", r"^markets.SOL.price_max_age_s must be greater"),
        ("[markets.SOL]\nprice_max_age_s = true", r"markets.SOL.price_max_age_s must be a whole"),
        (
            '[markets.SOL]\nprice_sources = ["push_feed"]',
            r"SOL.price_sources must name program too",
        ),
        ('[markets.SOL]\nprice_sources = ["pyth"]', r"markets.SOL.price_sources must be 'program'"),
        ("[markets.SOL]\nprice_sources = []", r"^markets.SOL.price_sources "),
        (
            '[markets.SOL]\nfeed_id = "SOL"',
            r"SOL.feed_id must be a feed id of 64 hexadecimal digits",
        ),
        ('[markets.SOL]\nprice_sources = ["program", "hermes"]', r"SOL.price_sources names hermes"),
        ("[markets.SOL]\nprice_sources_min = 2", r"SOL.price_sources_min must be at most 1"),
        ("[markets.SOL]\nprice_sources_min = 4", r"markets.SOL.price_sources_min must be less"),
        ("markets = 5", r"^markets must be a valid dictionary, was 5 \(liqctl.toml\)$"),
        ("[markets]\nSOL = 5", r"^markets.SOL must be"),
        (
            'hermes_url = "ftp://x"',
            r"^hermes_url must be a URL that starts with https:// or http://",
        ),
        ('hermes_api_key_file = "k"', r"^hermes_api_key_file needs hermes_url"),
        ("price_band_bps = 0", r"^price_band_bps must be greater"),
    ],
)
def test_terms_of_prices_that_make_no_sense_are_refused_by_name(empty_home, text, message):
    write(Path("liqctl.toml"), text)

    with pytest.raises(SettingsError, match=message):
        loaded()


def test_a_variable_that_is_no_json_is_refused():
    with pytest.raises(SettingsError, match=r"^markets must be JSON such as"):
        loaded({}, {"LIQCTL_MARKETS": "SOL"})


def test_the_markets_are_shown_as_they_are_set(empty_home):
    write(Path("liqctl.toml"), MARKETS)

    shown = json.loads(run("config", "show", "--json").stdout)

    assert shown["markets"]["SOL"]["price_sources"] == ["hermes", "program"]
    assert shown["hermes_url"] == "https://prices.example/..."


def test_the_terms_of_a_market_in_the_readme_are_taken(empty_home):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = [
        each for each in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "markets" in each
    ]
    write(Path("liqctl.toml"), example)

    terms = tuning_of(loaded().settings).limits.prices_of("SOL")

    assert terms.sources == (SourceName.HERMES, SourceName.PROGRAM, SourceName.PUSH_FEED)
    assert (terms.sources_min, terms.age_s_max) == (2, 90)
