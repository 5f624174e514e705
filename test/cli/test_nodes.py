"""Which nodes a command asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvpaxos.cli.nodes import named_nodes
from kvpaxos.config.cluster import default_cluster
from kvpaxos.config.settings import render
from kvpaxos.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty directory, with nothing said by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KVPAXOS_NODES", raising=False)
    return tmp_path


def put_settings(path: Path, port: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(render(default_cluster(1, base_port=port)))


def urls(*nodes: str, settings: str | None = None) -> list[str]:
    return [url for _, url in named_nodes(nodes, settings)]


def test_without_a_word_it_is_the_cluster_on_loopback() -> None:
    assert named_nodes([], None) == [
        ("n01", "http://127.0.0.1:8801"),
        ("n02", "http://127.0.0.1:8802"),
        ("n03", "http://127.0.0.1:8803"),
    ]


def test_what_is_nearer_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_settings(here / "conf" / "settings.conf", 9001)
    assert urls() == ["http://127.0.0.1:9001"]
    put_settings(here / "data" / "settings.conf", 9002)
    assert urls() == ["http://127.0.0.1:9002"]
    monkeypatch.setenv("KVPAXOS_NODES", "127.0.0.1:9003")
    assert urls() == ["http://127.0.0.1:9003"]
    put_settings(here / "mine.conf", 9004)
    assert urls(settings="mine.conf") == ["http://127.0.0.1:9004"]
    assert urls("127.0.0.1:9005") == ["http://127.0.0.1:9005"]


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVPAXOS_NODES", "")
    assert len(urls()) == 3


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8801", "http://127.0.0.1:8801"),
        ("127.0.0.1", "http://127.0.0.1:8801"),
        ("n01.example", "http://n01.example:8801"),
        ("[::1]:8801", "http://[::1]:8801"),
        ("http://127.0.0.1:8801", "http://127.0.0.1:8801"),
        ("http://127.0.0.1:8801/", "http://127.0.0.1:8801"),
        ("http://kv.example", "http://kv.example"),
        ("https://kv.example", "https://kv.example"),
        ("HTTP://KV.example:1", "http://kv.example:1"),
    ],
)
def test_a_node_may_be_written_in_short(text: str, url: str) -> None:
    assert named_nodes([text], None) == [(url, url)]


def test_several_nodes_stand_between_commas_or_blanks_or_are_named_one_by_one() -> None:
    expected = ["http://a:1", "http://b:2", "http://c:3"]
    assert urls("a:1,b:2,c:3") == expected
    assert urls("a:1, b:2 c:3,") == expected
    assert urls("a:1", "b:2,c:3") == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:x", 'names the node "a:x", whose address or port is none'),
        ("a:70000", "whose address or port is none"),
        ("a:0", "which nobody can dial"),
        (":8801", "which nobody can dial"),
        ("0.0.0.0:8801", "which nobody can dial"),
        ("http://[bad", "whose address or port is none"),
        ("127.0.0.300:1", "whose address is neither an IP address nor a host name"),
        ("ftp://a:1", "which is not reached by HTTP"),
        ("a:1/kv", "which says more than an address and a port"),
        ("http://a:1?x=1", "which says more than an address and a port"),
        ("http://me:secret@a:1", "which says more than an address and a port"),
        (", ,", "names no node"),
    ],
)
@pytest.mark.parametrize("where", ["--nodes", "KVPAXOS_NODES"])
def test_a_node_that_makes_no_sense_is_named_with_the_mend(
    text: str, problem: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVPAXOS_NODES", text)
    with pytest.raises(ConfigError) as refused:
        named_nodes([text] if where == "--nodes" else [], None)
    sentence = str(refused.value)
    assert sentence.startswith(f"{where} names ")
    assert problem in sentence
    assert "; write it as 127.0.0.1:8801" in sentence


def test_nodes_and_settings_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="both name the nodes"):
        named_nodes(["a:1"], "conf/settings.conf")


def test_a_node_without_a_url_cannot_be_asked(here: Path) -> None:
    settings = {"nodes": {"n01": {"http": "unix:h.sock", "peer": "unix:p.sock"}}}
    (here / "s.conf").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"n01 serves HTTP at unix:h\.sock, which has no URL"):
        urls(settings="s.conf")
