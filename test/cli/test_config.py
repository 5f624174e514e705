"""``kvpaxos config``: settings as they are understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kvpaxos.cli.main import main
from kvpaxos.config.settings import parse

ROOT = Path(__file__).parents[2]

SAME_PORT = {"n01": "127.0.0.1", "n02": "127.0.0.2", "n03": "127.0.0.3", "port": "8801"}
PEER_PORTS = {"n01": "127.0.0.1:7701", "n02": "127.0.0.1:7702", "port": "8801"}
OWN_PORTS = {
    "n01": "127.0.0.1",
    "n02": "127.0.0.1",
    "nservers": "2",
    "use_different_port": "true",
    "port_n01": "8801",
    "port_n02": "8812",
    "RPC_port_n01": "7701",
    "RPC_port_n02": "7712",
}
FULL = {
    "nodes": {
        "n07": {
            "http": "tcp:8807",
            "peer": "tcp:7707",
            "dial": "tcp:host=kv.example:port=7707",
            "data": "/var/kv",
        }
    },
    "limits": {"value_bytes_max": 2048},
}
SHAPES = {"one port": SAME_PORT, "peer ports": PEER_PORTS, "own ports": OWN_PORTS, "full": FULL}


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["config", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest, here: Path) -> Path:
    path = here / "s.conf"
    path.write_text(json.dumps(SHAPES[request.param]))
    return path


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (
            SAME_PORT,
            [
                "n01 127.0.0.1:8801 127.0.0.1:7701 127.0.0.1:6801 data/n01",
                "n02 127.0.0.2:8801 127.0.0.2:7701 127.0.0.2:6801 data/n02",
                "n03 127.0.0.3:8801 127.0.0.3:7701 127.0.0.3:6801 data/n03",
            ],
        ),
        (
            PEER_PORTS,
            [
                "n01 127.0.0.1:8801 127.0.0.1:7701 127.0.0.1:6801 data/n01",
                "n02 127.0.0.1:8802 127.0.0.1:7702 127.0.0.1:6802 data/n02",
            ],
        ),
        (
            OWN_PORTS,
            [
                "n01 127.0.0.1:8801 127.0.0.1:7701 127.0.0.1:6801 data/n01",
                "n02 127.0.0.1:8812 127.0.0.1:7712 127.0.0.1:6812 data/n02",
            ],
        ),
        (FULL, ["n07 *:8807 *:7707 - /var/kv"]),
    ],
    ids=SHAPES,
)
def test_settings_that_are_sound_are_shown_with_all_addresses(
    settings: dict[str, Any], rows: list[str], here: Path
) -> None:
    (here / "s.conf").write_text(json.dumps(settings))
    status, output, errors = run("check", "s.conf")
    assert (status, errors) == (0, "")
    first, head, *nodes = (" ".join(line.split()) for line in output.splitlines())
    count = f"{len(rows)} nodes" if len(rows) > 1 else "1 node"
    assert first == f"s.conf: sound, with {count}"
    assert head == "node http peer resp data"
    assert nodes == rows


def test_sockets_are_shown_by_their_paths(here: Path) -> None:
    node = {"http": "tcp:8801:interface=\\:\\:1", "peer": "unix:run/n01.sock"}
    (here / "s.conf").write_text(json.dumps({"nodes": {"n01": node}}))
    status, output, _ = run("check", "s.conf")
    assert status == 0
    assert output.splitlines()[-1].split() == ["n01", "[::1]:8801", "run/n01.sock", "-", "data/n01"]


def test_without_a_file_it_is_what_a_node_would_read_here(here: Path) -> None:
    assert run("check")[1].startswith("the built-in settings: sound, with 3 nodes\n")
    (here / "conf").mkdir()
    (here / "conf" / "settings.conf").write_text(json.dumps(PEER_PORTS))
    assert run("check")[1].startswith("conf/settings.conf: sound, with 2 nodes\n")


def test_the_shipped_settings_are_sound() -> None:
    status, output, _ = run("check", str(ROOT / "conf" / "settings.conf"))
    assert status == 0
    assert output.splitlines()[0].endswith("settings.conf: sound, with 3 nodes")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"n01": "127.0.0.300", "port": "8801"}', '"n01" is "127.0.0.300", whose address is'),
        ('{"n01": "127.0.0.1", "prot": "8801"}', '"prot" is no setting of kvpaxos; perhaps "port"'),
        ('{"n01": "127.0.0.1", "port": "x"}', '"port" is "x"; make it a whole number from 1'),
        ('{"n01": "127.0.0.1"', "line 1, column 20: expecting ',' delimiter; mend the JSON there."),
        ('n01 = "127.0.0.1"\nport', "mend the TOML there"),
        ("", "it is empty; name the nodes and their addresses in it."),
    ],
)
def test_a_mistake_is_told_with_the_file_the_key_and_the_mend(
    text: str, sentence: str, here: Path
) -> None:
    (here / "s.conf").write_text(text)
    for command in ("check", "show"):
        status, output, errors = run(command, "s.conf")
        assert (status, output) == (2, "")
        assert errors.startswith("kvpaxos: s.conf: ")
        assert sentence in errors
        assert errors.count("\n") == 1


def test_what_is_shown_as_json_is_the_same_settings_with_nothing_left_open(shape: Path) -> None:
    status, output, _ = run("show", str(shape), "--json")
    assert status == 0
    assert parse("again", output.encode()) == parse("once", shape.read_bytes())
    shown = json.loads(output)
    for node in shown["nodes"].values():
        assert {"http", "peer", "dial", "data"} <= node.keys()
    assert "value_bytes_max" in shown["limits"]
    assert {"replies", "allow_partitions", "admin_from_anywhere"} <= shown["options"].keys()


def test_what_is_shown_to_people_is_the_same_as_the_json(shape: Path) -> None:
    status, output, _ = run("show", str(shape))
    assert status == 0
    words = {tuple(line.split()) for line in output.splitlines()}
    shown = json.loads(run("show", str(shape), "--json")[1])
    for name, node in shown["nodes"].items():
        (first, *others) = node.items()
        assert (name, *first) in words
        assert {(key, value) for key, value in others} <= words
    for section in ("limits", "options"):
        settings = {(key, json.dumps(value)) for key, value in shown[section].items()}
        assert settings <= words


def test_a_file_that_cannot_be_read_is_named() -> None:
    sentence = (
        "kvpaxos: no.conf: No such file or directory; name a settings file that can be read.\n"
    )
    assert run("check", "no.conf") == (2, "", sentence)
    assert run("show", "no.conf") == (2, "", sentence)
