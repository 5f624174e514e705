"""Settings in every shape that is read, and what is said of those that are wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.config.cluster import (
    SEGMENT_BYTES_STEP,
    STORAGE_RANGES,
    ClusterConfig,
    ClusterLimits,
    ClusterOptions,
    ClusterStorage,
    NodeConfig,
    default_cluster,
)
from kvpaxos.config.settings import parse, render
from kvpaxos.engine.rocks import MEMORY_BYTES, MEMORY_BYTES_MIN
from kvpaxos.errors import ConfigError
from kvpaxos.journal.format import (
    ALIGN_BYTES,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
)

Table = dict[str, object]


def read(settings: Table) -> ClusterConfig:
    return parse("s.conf", json.dumps(settings).encode())


def faces(cluster: ClusterConfig) -> list[tuple[str, str, str | None]]:
    return [(node.http, node.peer, node.resp) for node in cluster.nodes]


def on(host: str, *ports: int) -> tuple[str, ...]:
    return tuple(f"tcp:{port}:interface={host}" for port in ports)


def test_one_port_and_an_address_each() -> None:
    cluster = read({"n01": "127.0.0.1", "n02": "127.0.0.2", "n03": "127.0.0.3", "port": "8801"})
    assert cluster.members == ("n01", "n02", "n03")
    assert faces(cluster) == [on(f"127.0.0.{node}", 8801, 7701, 6801) for node in (1, 2, 3)]
    assert cluster.node("n02").dial == "tcp:host=127.0.0.2:port=7701"
    assert cluster.node("n02").data == "data/n02"


def test_nodes_that_share_an_address_take_the_ports_after_the_first() -> None:
    cluster = read({"n03": "10.0.0.2", "n02": "10.0.0.1", "n01": "10.0.0.1", "port": 8801})
    assert faces(cluster) == [
        on("10.0.0.1", 8801, 7701, 6801),
        on("10.0.0.1", 8802, 7702, 6802),
        on("10.0.0.2", 8801, 7701, 6801),
    ]


def test_an_address_may_hold_the_peer_port() -> None:
    cluster = read({"n01": "127.0.0.1:7000", "n02": "127.0.0.1:7100", "port": "8801"})
    assert faces(cluster) == [
        on("127.0.0.1", 8801, 7000, 6801),
        on("127.0.0.1", 8802, 7100, 6802),
    ]


def test_each_node_may_have_ports_of_its_own() -> None:
    cluster = read(
        {
            "n01": "127.0.0.1",
            "n02": "127.0.0.1",
            "nservers": "2",
            "use_different_port": "true",
            "port_n01": "8811",
            "port_n02": "8822",
            "RPC_port_n01": "7711",
            "RPC_port_n02": "7722",
        }
    )
    assert faces(cluster) == [
        on("127.0.0.1", 8811, 7711, 6811),
        on("127.0.0.1", 8822, 7722, 6822),
    ]


def test_ports_of_their_own_are_left_aside_when_told_so() -> None:
    cluster = read(
        {"n01": "127.0.0.1", "port": "8801", "port_n01": "9000", "use_different_port": "false"}
    )
    assert faces(cluster) == [on("127.0.0.1", 8801, 7701, 6801)]


def test_no_course_file_is_refused_for_a_redis_port_it_cannot_name() -> None:
    cluster = read({"n01": "127.0.0.1:6801", "n02": "127.0.0.1:7702", "port": "8801"})
    assert [node.resp for node in cluster.nodes] == [None, *on("127.0.0.1", 6802)]
    low = read({"n01": "127.0.0.1:99", "port": "80"})
    assert low.nodes[0].resp is None


def test_an_ipv6_address_is_escaped_in_endpoints_and_bracketed_in_urls() -> None:
    node = read({"n01": "[::1]:7701", "port": "8801"}).node("n01")
    assert node.http == r"tcp:8801:interface=\:\:1"
    assert node.dial == r"tcp:host=\:\:1:port=7701"
    assert node.url == "http://[::1]:8801"
    assert read({"n01": "0:0:0:0:0:0:0:1", "port": "8801"}).node("n01").url == node.url


def test_the_hosts_of_a_node_are_where_it_serves_and_where_it_is_dialed() -> None:
    [named] = read({"n01": "DB1.example", "port": "8801"}).nodes
    assert named.hosts == {"db1.example"}
    everywhere = {"http": "tcp:8801", "peer": "tcp:7701", "dial": "tcp:host=db1.example:port=7701"}
    assert read({"nodes": {"n01": everywhere}}).node("n01").hosts == {"db1.example"}
    nowhere = {"http": "unix:run/http.sock", "peer": "unix:run/n01.sock"}
    assert read({"nodes": {"n01": nowhere}}).node("n01").hosts == frozenset()


@pytest.mark.parametrize("replies", ["seed", "handout", "plain"])
def test_the_dialect_of_replies_can_be_chosen_in_each_form(replies: str) -> None:
    flat = read({"n01": "127.0.0.1", "port": "8801", "replies": replies})
    assert flat.options.replies == replies
    assert parse("s.conf", render(flat).encode()).options == flat.options


def test_options_may_stand_beside_the_nodes() -> None:
    cluster = read(
        {"n01": "127.0.0.1", "port": "8801", "allow_partitions": "yes", "data": "/var/lib/kv"}
    )
    assert cluster.options == ClusterOptions(allow_partitions=True)
    assert cluster.node("n01").data == "/var/lib/kv/n01"


STORAGE: Table = {
    "memory_bytes": "268435456",
    "journal_bytes_max": 1048576,
    "scan_bytes_per_s": 0,
    "scan_every_s": 60,
    "segment_bytes": 65536,
    "snapshot_slots": 50,
}


def test_storage_and_volatile_can_be_set_in_each_form() -> None:
    flat = read({"n01": "127.0.0.1", "port": "8801", "volatile": "yes", **STORAGE})
    assert flat.storage == ClusterStorage(268435456, 1048576, 0, 60, 65536, 50)
    assert flat.options == ClusterOptions(volatile=True)
    full = read({"nodes": FULL["nodes"], "storage": STORAGE, "options": {"volatile": True}})
    assert (full.storage, full.options) == (flat.storage, flat.options)
    assert parse("s.conf", render(flat).encode()).storage == flat.storage


def test_what_storage_may_be_is_what_journal_and_engine_can_do() -> None:
    default = ClusterStorage()
    assert default.memory_bytes == MEMORY_BYTES
    assert STORAGE_RANGES["memory_bytes"][0] >= MEMORY_BYTES_MIN
    assert default.segment_bytes == SEGMENT_BYTES
    assert STORAGE_RANGES["segment_bytes"] == (SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    assert SEGMENT_BYTES_STEP == ALIGN_BYTES
    assert read({"nodes": FULL["nodes"], "storage": asdict(default)}).storage == default


FULL: Table = {
    "nodes": {
        "n01": {
            "http": "tcp:8801:interface=127.0.0.1",
            "peer": "unix:run/n01.sock",
            "resp": "tcp:6801:interface=127.0.0.1",
            "data": "/var/lib/n01",
        },
        "n02": {"http": "tcp:8802", "peer": "tcp:7702", "dial": "tcp:host=10.0.0.2:port=7702"},
    },
    "limits": {"value_bytes_max": "2097152"},
    "options": {"replies": "seed", "allow_partitions": True},
}


def test_the_full_form() -> None:
    cluster = read(FULL)
    assert cluster == ClusterConfig(
        nodes=(
            NodeConfig(
                node="n01",
                http="tcp:8801:interface=127.0.0.1",
                peer="unix:run/n01.sock",
                dial="unix:path=run/n01.sock",
                resp="tcp:6801:interface=127.0.0.1",
                data="/var/lib/n01",
            ),
            NodeConfig(
                node="n02",
                http="tcp:8802",
                peer="tcp:7702",
                dial="tcp:host=10.0.0.2:port=7702",
                resp=None,
                data="data/n02",
            ),
        ),
        limits=ClusterLimits(value_bytes_max=2097152),
        options=ClusterOptions(allow_partitions=True),
    )
    assert [node.url for node in cluster.nodes] == ["http://127.0.0.1:8801", "http://10.0.0.2:8802"]


def test_what_does_not_begin_with_a_brace_is_toml() -> None:
    toml = b"""
        # Two nodes
        [nodes.n01]
        http = "tcp:8801:interface=127.0.0.1"
        peer = "unix:run/n01.sock"
        resp = "tcp:6801:interface=127.0.0.1"
        data = "/var/lib/n01"
        [nodes.n02]
        http = "tcp:8802"
        peer = "tcp:7702"
        dial = "tcp:host=10.0.0.2:port=7702"
        [limits]
        value_bytes_max = 2_097_152
        [options]
        allow_partitions = true
    """
    assert parse("s.toml", toml) == read(FULL)
    assert parse("s.toml", b'n01 = "127.0.0.1"\nport = 8801\n') == read(
        {"n01": "127.0.0.1", "port": "8801"}
    )


@given(
    nodes=st.integers(1, 99),
    transport=st.sampled_from(["tcp", "unix"]),
    directory=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9),
)
def test_what_is_rendered_reads_back_as_the_same_cluster(
    nodes: int, transport: str, directory: str
) -> None:
    cluster = replace(
        default_cluster(nodes, transport=transport, directory=directory),
        options=ClusterOptions(allow_partitions=True),
    )
    assert parse("s.conf", render(cluster).encode()) == cluster
    assert parse("s.conf", render(read(FULL)).encode()) == read(FULL)


def test_the_built_in_cluster_is_three_nodes_on_loopback() -> None:
    cluster = default_cluster()
    assert cluster.members == ("n01", "n02", "n03")
    assert faces(cluster) == [on("127.0.0.1", 8801 + n, 7701 + n, 6801 + n) for n in range(3)]
    assert [node.data for node in cluster.nodes] == ["data/n01", "data/n02", "data/n03"]


def test_ninety_nine_nodes_have_ports_below_the_ephemeral_range_and_no_clash() -> None:
    cluster = default_cluster(99)
    assert cluster.members[-1] == "n99"
    assert cluster.nodes[-1].url == "http://127.0.0.1:8899"


BAD_TABLES: list[tuple[str, Table, str]] = [
    (
        "a segment that is no multiple",
        {"n01": "127.0.0.1", "port": "8801", "segment_bytes": 40000},
        '"segment_bytes" is 40000; make it a multiple of 4096.',
    ),
    (
        "a journal of hardly a segment",
        {
            "nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}},
            "storage": {"journal_bytes_max": 131072},
        },
        (
            '"storage.journal_bytes_max" is 131072, less than 4 segments of 16777216 bytes;'
            ' make it 67108864 or more, or "segment_bytes" less.'
        ),
    ),
    (
        "a journal too short for long values",
        {
            "nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}},
            "limits": {"value_bytes_max": 16777216},
            "storage": {"journal_bytes_max": 67108864},
        },
        (
            '"storage.journal_bytes_max" is 67108864, less than 4 compare-and-sets of values of'
            ' 16777216 bytes take; make it 134250496 or more, or "limits.value_bytes_max" less.'
        ),
    ),
    (
        "too little memory for long values",
        {
            "nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}},
            "limits": {"value_bytes_max": 8388608},
            "storage": {"memory_bytes": 8388608},
        },
        (
            '"storage.memory_bytes" is 8388608, less than 2 values of 8388608 bytes take;'
            ' make it 16777216 or more, or "limits.value_bytes_max" less.'
        ),
    ),
    (
        "too few slots between snapshots",
        {"n01": "127.0.0.1", "port": "8801", "snapshot_slots": 49},
        '"snapshot_slots" is 49; make it a whole number from 50 to 1000000000.',
    ),
    (
        "no such storage",
        {"nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}}, "storage": {"memory": 1}},
        '"storage.memory" is no setting of kvpaxos; perhaps "memory_bytes" is meant.',
    ),
    (
        "no node",
        {"port": "8801"},
        '"n01" is missing; name the nodes: "n01": "127.0.0.1".',
    ),
    (
        "no port",
        {"n01": "127.0.0.1"},
        '"port" is missing and n01 has no port of its own; add "port": "8801".',
    ),
    (
        "a port that is no number",
        {"n01": "127.0.0.1", "port": "88o1"},
        '"port" is "88o1"; make it a whole number from 1 to 65535.',
    ),
    (
        "a port that is too high",
        {"n01": "127.0.0.1", "port": 65536},
        '"port" is 65536; make it a whole number from 1 to 65535.',
    ),
    (
        "a port that is true",
        {"n01": "127.0.0.1", "port": True},
        '"port" is true; make it a whole number from 1 to 65535.',
    ),
    (
        "a port of absurd length",
        {"n01": "127.0.0.1", "port": "9" * 5000},
        f'"port" is "{"9" * 59}…; make it a whole number from 1 to 65535.',
    ),
    (
        "more nodes than ports",
        {"n01": "127.0.0.1", "n02": "127.0.0.1", "port": "65535"},
        '"port" leaves n02 with port 65536; begin lower for so many nodes.',
    ),
    (
        "no room below the HTTP port",
        {"n01": "127.0.0.1", "port": "80"},
        '"RPC_port_n01" is missing, and no port is 1100 below the HTTP port 80; add it.',
    ),
    (
        "a misspelt key",
        {"n01": "127.0.0.1", "prot": "8801", "port": "8801"},
        '"prot" is no setting of kvpaxos; perhaps "port" is meant.',
    ),
    (
        "a misspelt node",
        {"n01": "127.0.0.1", "n1": "127.0.0.1", "port": "8801"},
        '"n1" is no setting of kvpaxos; perhaps "n01" is meant.',
    ),
    (
        "a port of nobody",
        {"n01": "127.0.0.1", "port": "8801", "port_n02": "8802"},
        '"port_n02" is no setting of kvpaxos; perhaps "port_n01" is meant.',
    ),
    (
        "a key like no other",
        {"n01": "127.0.0.1", "port": "8801", "zebra": "1"},
        '"zebra" is no setting of kvpaxos; remove it.',
    ),
    (
        "node zero",
        {"n00": "127.0.0.1", "n01": "127.0.0.1", "port": "8801"},
        '"n00" is no setting of kvpaxos; perhaps "n01" is meant.',
    ),
    (
        "a count that is wrong",
        {"n01": "127.0.0.1", "port": "8801", "nservers": "3"},
        '"nservers" is 3, but the nodes named are 1; make it 1.',
    ),
    (
        "an address that is none",
        {"n01": "127.0.0.300", "port": "8801"},
        (
            '"n01" is "127.0.0.300", whose address is neither an IP address nor a host name;'
            " correct it."
        ),
    ),
    (
        "an address that is no text",
        {"n01": 5, "port": "8801"},
        '"n01" is 5; put text between quotes: "…".',
    ),
    (
        "an empty address",
        {"n01": " ", "port": "8801"},
        '"n01" is empty; give it a value or leave it out.',
    ),
    (
        "every address",
        {"n01": "0.0.0.0", "port": "8801"},  # noqa: S104 -- it is what must be refused
        '"n01" is "0.0.0.0", which is every address and none; name the one that its peers reach.',
    ),
    (
        "a peer port that is missing",
        {"n01": "127.0.0.1:", "port": "8801"},
        '"n01" is "127.0.0.1:", whose port is no number from 1 to 65535; correct it.',
    ),
    (
        "two peer ports",
        {"n01": "127.0.0.1:7701", "RPC_port_n01": "7702", "port": "8801"},
        '"RPC_port_n01" is 7702, but "n01" says 7701; keep one of them.',
    ),
    (
        "two nodes on one port",
        {"n01": "127.0.0.1", "n02": "127.0.0.1", "port_n01": "8801", "port_n02": "8801"},
        '"http" of n02 and "http" of n01 are both port 8801 of 127.0.0.1; give each its own.',
    ),
    (
        "a peer port deduced onto another's HTTP port",
        {"n01": "::1", "n02": "0::1", "port_n01": "8801", "port_n02": "7701"},
        '"http" of n02 and "peer" of n01 are both port 7701 of ::1; give each its own.',
    ),
    (
        "a truth value that is none",
        {"n01": "127.0.0.1", "port": "8801", "use_different_port": "perhaps"},
        '"use_different_port" is "perhaps"; make it true or false.',
    ),
    (
        "a dialect that is none",
        {"n01": "127.0.0.1", "port": "8801", "replies": "klingon"},
        '"replies" is "klingon"; make it "seed", "handout" or "plain".',
    ),
    ("nodes that are no table", {"nodes": ["n01"]}, "\"nodes\" is ['n01']; make it a table: {…}."),
    ("no node in the full form", {"nodes": {}}, '"nodes" names no node; begin with "n01": {…}.'),
    (
        "a node with a name of its own",
        {"nodes": {"alpha": {}}},
        '"nodes.alpha" is no id of a node; call the nodes n01 to n99.',
    ),
    (
        "a node without endpoint",
        {"nodes": {"n01": {"http": "tcp:8801"}}},
        '"nodes.n01.peer" is missing; add it.',
    ),
    (
        "an endpoint that is none",
        {"nodes": {"n01": {"http": "8801", "peer": "unix:a"}}},
        (
            '"nodes.n01.http" is "8801", which is no endpoint such as'
            ' "tcp:7701:interface=127.0.0.1";'
            ' write it as "tcp:PORT:interface=ADDRESS" or "unix:PATH".'
        ),
    ),
    (
        "a peer endpoint that cannot be dialed",
        {"nodes": {"n01": {"http": "tcp:8801", "peer": "tcp:7701"}}},
        (
            '"nodes.n01.dial" is missing, and "tcp:7701" does not say where peers reach the node;'
            ' add it: "tcp:host=ADDRESS:port=PORT".'
        ),
    ),
    (
        "a key of a node that is none",
        {"nodes": {"n01": {"http": "tcp:8801", "peer": "unix:a", "pear": "unix:b"}}},
        '"nodes.n01.pear" is no setting of kvpaxos; perhaps "peer" is meant.',
    ),
    (
        "two nodes in one directory",
        {
            "nodes": {
                "n01": {"http": "tcp:1", "peer": "unix:a", "data": "d"},
                "n02": {"http": "tcp:2", "peer": "unix:b", "data": "d"},
            }
        },
        '"data" of n02 and "data" of n01 are both the directory d; give each its own.',
    ),
    (
        "two nodes in one socket",
        {
            "nodes": {
                "n01": {"http": "tcp:1", "peer": "unix:a"},
                "n02": {"http": "tcp:2", "peer": "unix:a"},
            }
        },
        '"peer" of n02 and "peer" of n01 are both the socket a; give each its own.',
    ),
    (
        "a limit out of range",
        {"nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}}, "limits": {"value_bytes_max": 1}},
        '"limits.value_bytes_max" is 1; make it a whole number from 1024 to 16777216.',
    ),
    (
        "a limit that is none",
        {"nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}}, "limits": {"value_max": 1}},
        '"limits.value_max" is no setting of kvpaxos; perhaps "value_bytes_max" is meant.',
    ),
    (
        "an option that is none",
        {"nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}}, "options": {"reply": "seed"}},
        '"options.reply" is no setting of kvpaxos; perhaps "replies" is meant.',
    ),
    (
        "a flat key in the full form",
        {"nodes": {"n01": {"http": "tcp:1", "peer": "unix:a"}}, "port": "8801"},
        '"port" is no setting of kvpaxos; remove it.',
    ),
]


@pytest.mark.parametrize(
    ("table", "sentence"), [pytest.param(*bad, id=name) for name, *bad in BAD_TABLES]
)
def test_a_mistake_is_named_with_its_key_and_its_mend(table: Table, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(table)
    assert str(caught.value) == f"s.conf: {sentence}"


BAD_BYTES: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "it is empty; name the nodes and their addresses in it."),
    ("blanks", b" \n\t\n", "it is empty; name the nodes and their addresses in it."),
    (
        "a byte order mark",
        b'\xef\xbb\xbf{"n01": "127.0.0.1"}',
        "it begins with a byte order mark; save it as plain UTF-8, without BOM.",
    ),
    (
        "UTF-16",
        '{"n01"}'.encode("utf-16"),
        "it begins with a byte order mark; save it as plain UTF-8, without BOM.",
    ),
    (
        "Latin-1",
        b'{\n"n01": "127.0.0.1", \n"caf\xe9": 1}',
        "line 3 is not UTF-8 (byte 27); save the file as UTF-8.",
    ),
    (
        "a JSON syntax error",
        b'{"n01": "127.0.0.1",\n "port" "8801"}',
        "line 2, column 9: expecting ':' delimiter; mend the JSON there.",
    ),
    (
        "text after the JSON",
        b'{"n01": "127.0.0.1"} etc',
        "line 1, column 22: extra data; mend the JSON there.",
    ),
    (
        "a key that stands there twice",
        b'{"n01": "127.0.0.1", "n01": "127.0.0.2", "port": "8801"}',
        '"n01" stands there twice; keep one of them.',
    ),
    (
        "a TOML syntax error",
        b'n01 = "127.0.0.1"\nport 8801\n',
        (
            "expected '=' after a key in a key/value pair (at line 2, column 6);"
            " mend the TOML there (JSON begins with a brace)."
        ),
    ),
    (
        "a number that is none",
        b'{"port": NaN}',
        "NaN is no value of a setting; write a plain number.",
    ),
    (
        "a number without end",
        b'{"port": ' + b"9" * 9999 + b"}",
        "it holds a number with thousands of digits; shorten it.",
    ),
    (
        "a table in a table in a table …",
        b'{"a":' * 100_000,
        "its tables are nested too deep; settings need three levels.",
    ),
    (
        "a file that is no settings file",
        b" " * (1024 * 1024 + 1),
        "settings of 1048577 bytes are no settings; the most that is read is 1048576 bytes.",
    ),
]


@pytest.mark.parametrize(
    ("data", "sentence"), [pytest.param(*bad, id=name) for name, *bad in BAD_BYTES]
)
def test_text_that_is_no_settings_is_named_with_its_place(data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("s.conf", data)
    assert str(caught.value) == f"s.conf: {sentence}"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_gives_a_config_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse("s.conf", data)


KEYS = st.sampled_from(
    ["nodes", "n01", "n02", "port", "port_n01", "RPC_port_n01", "nservers", "http", "peer", "data"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def tables(inner: st.SearchStrategy[object]) -> st.SearchStrategy[Table]:
    return st.dictionaries(KEYS, JSON | inner, max_size=4)


@given(tables(tables(tables(JSON))))
def test_values_of_any_type_give_a_cluster_or_a_config_error(table: Table) -> None:
    try:
        assert read(table).nodes
    except ConfigError as error:
        assert str(error).startswith("s.conf: ")  # noqa: PT017 -- either outcome is right


@pytest.mark.parametrize(
    ("nodes", "base_port", "directory", "sentence"),
    [
        (0, 8801, "data", "A cluster of 0 nodes is none; it can have 1 to 99."),
        (100, 8801, "data", "A cluster of 100 nodes is none; it can have 1 to 99."),
        (
            3,
            2000,
            "data",
            (
                "The first HTTP port cannot be 2000; with 3 nodes, and their other ports 1100 and"
                " 2000 below it, choose from 2001 to 65533."
            ),
        ),
        (
            3,
            8801,
            "d" * 100,
            'n01 would listen at "unix:'
            + "d" * 100
            + '/n01.sock", which has a path of 109 bytes, and'
            " a UNIX socket's can have 107; choose a shorter directory.",
        ),
    ],
)
def test_a_built_in_cluster_that_cannot_be(
    nodes: int, base_port: int, directory: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        default_cluster(nodes, base_port=base_port, directory=directory, transport="unix")
    assert str(caught.value) == sentence


def test_a_node_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"no node 'n07'; name n01, n02 or n03\.$"):
        default_cluster().node("n07")
    with pytest.raises(ConfigError, match=r"no node 'n09'; name one of n01 to n05\.$"):
        default_cluster(5).node("n09")


def test_the_settings_that_are_shipped_describe_the_built_in_cluster() -> None:
    shipped = Path(__file__).parents[2] / "conf" / "settings.conf"
    assert parse("settings.conf", shipped.read_bytes()) == default_cluster()
