"""Where parameters may stand, and what they may be made of."""

from __future__ import annotations

import json
import re
import tracemalloc
from base64 import b64encode
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import BadRequest, TooLarge
from kvpaxos.node.http import bodies
from kvpaxos.node.http.bodies import at_once, read_form
from kvpaxos.node.http.dialects import DIALECTS
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import Parameters
from kvpaxos.store.commands import Set
from kvpaxos.store.entry import Entry
from test.node.http.harness import Node

MIB = 1024 * 1024

JSON = "application/json"
MULTIPART = "multipart/form-data; boundary=cut"

TEXTS = {
    "blank": "two words",
    "quote": 'say "it\'s"',
    "ampersand": "a&b",
    "equals sign": "a=b==c",
    "plus": "1+1",
    "percent": "100%",
    "escape": "%41%zz%",
    "newline": "one\ntwo\r\nthree\r",
    "NUL": "a\0b",
    "semicolon": "a;b",
    "slash and question mark": "/a?b#c",
    "backslash": "\\u0041 \\n",
    "CJK": "键值",
    "emoji": "🔑🗝️",
    "right to left": "مفتاح",
    "last character": "\U0010ffff",
    "line separator": "\u2028\u2029",
    "byte order mark": "\ufefftext",
    "looks like JSON": '{"key":"a"}',
}

FORM = "application/x-www-form-urlencoded"


def form(**parameters: str) -> bytes:
    return "&".join(f"{name}={quote_plus(text)}" for name, text in parameters.items()).encode()


def query(**parameters: str) -> str:
    return "&".join(f"{name}={quote(text, safe='')}" for name, text in parameters.items())


def multipart(boundary: str = "cut", **parameters: str) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in parameters.items()
    ]
    return f"{''.join(parts)}--{boundary}--\r\n".encode()


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_a_key_and_a_value(text: str, dialect: str) -> None:
    node = Node(dialect=dialect)
    yes = DIALECTS[dialect].yes
    stored: list[tuple[str, bytes, str | None]] = [
        (f"/kv/set?{query(key=text, value=text + '1')}", b"", None),
        ("/kv/set", form(key=text, value=text + "2"), FORM),
        ("/kv/set", json.dumps({"key": text, "value": text + "3"}).encode(), "application/json"),
        (
            "/kv/set",
            json.dumps({"key": text, "value": text + "4"}, ensure_ascii=False).encode(),
            "application/json; charset=utf-8",
        ),
        ("/kv/set", multipart(key=text, value=text + "5"), "multipart/form-data; boundary=cut"),
        ("/kv/set", form(key=text, value=text + "6"), None),
        ("/kv/set", form(key=text, value=text + "7"), "text/plain"),
        (f"/kv/set?{query(key_base64=encoded(text), value=text + '8')}", b"", None),
        ("/kv/set", form(key_base64=encoded(text), value_base64=encoded(text + "9")), None),
    ]
    read: list[tuple[str, bytes, str | None]] = [
        (f"/kv/get?{query(key=text)}", b"", None),
        (f"/kv/get?{query(key_base64=encoded(text))}", b"", None),
        ("/kv/get", form(key=text), None),
        ("/kv/get", json.dumps({"key": text}).encode(), "application/json"),
    ]
    for number, (target, body, content_type) in enumerate(stored, 1):
        assert node.ask("POST", target, body, content_type).json == {"success": yes}
        for reading in read:
            reply = node.ask("GET", *reading)
            assert reply.json == {"success": yes, "value": f"{text}{number}"}
    assert node.store.count() == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_comes_out_of_every_reply_as_it_went_in(text: str, dialect: str) -> None:
    assert_comes_out_as_it_went_in(text, Node(dialect=dialect))


def assert_comes_out_as_it_went_in(text: str, node: Any) -> None:
    """Hold every reply of a node that holds nothing, this one or a real one, to that."""
    said = DIALECTS[node.dialect]
    both = form(key=text, value=text)
    assert node.ask("POST", "/kv/insert", both).json == {"success": said.yes}
    updated = node.ask("POST", "/kv/update", both).json
    assert updated.get("value", text) == text
    expected = form(key=text, expect=text, value=text + text)
    assert node.ask("POST", "/kv/cas", expected).json == {"success": said.yes}
    differs = node.ask("POST", "/kv/cas", expected).json
    assert (differs["success"], differs.get("value", text + text)) == (said.no, text + text)
    assert node.ask("POST", "/kv/append", both).json.get("value", text * 3) == text * 3
    client = node.connect()
    client.begin("GET", "/kvman/dump")
    node.turn(3)
    assert client.reply().json == [[text, text * 3]]
    deleted = node.ask("POST", "/kv/delete", form(key=text)).json
    assert deleted == {"success": said.yes, "value": text * 3}


NO_TEXT = bytes(range(256))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_reply_says_in_base64_can_be_sent_back_as_it_is(dialect: str) -> None:
    node = Node(dialect=dialect)
    node.store.apply(Set(NO_TEXT, NO_TEXT[::-1]))
    client = node.connect()
    client.begin("GET", "/kvman/dump")
    node.turn(3)
    [pair] = client.reply().json
    value = pair.pop("value_base64")
    body = json.dumps({**pair, "expect": None, "expect_base64": value, "value": "b"}).encode()

    reply = node.ask("POST", "/kv/cas", body, "application/json")
    assert reply.json == {"success": DIALECTS[dialect].yes}
    assert node.store.get(NO_TEXT) == Entry(b"b", 1, 2, 2)


@pytest.mark.parametrize("name", ["key", "value", "expect"])
@pytest.mark.parametrize("source", ["query", "form", "JSON", "multipart"])
def test_bytes_may_be_given_in_base64_wherever_parameters_stand(name: str, source: str) -> None:
    given = {"key": "a", "value": "b", "expect": "c"}
    del given[name]
    given[f"{name}_base64"] = b64encode(NO_TEXT).decode()
    asked = {
        "query": Parameters(HttpLimits(), query=query(**given).encode()),
        "form": Parameters(HttpLimits(), query=b"", body=form(**given)),
        "JSON": Parameters(
            HttpLimits(), query=b"", content_type=JSON.encode(), body=json.dumps(given).encode()
        ),
        "multipart": Parameters(
            HttpLimits(), query=b"", content_type=MULTIPART.encode(), body=multipart(**given)
        ),
    }[source]
    expected = {"key": b"a", "value": b"b", "expect": b"c", name: NO_TEXT}

    got = {"key": asked.key(), "value": asked.value(), "expect": asked.expect()}
    assert got == expected


def test_a_page_may_begin_after_a_key_that_is_no_text(node: Node) -> None:
    node.store.apply(Set(b"\xff\xfe", b"b"))
    for target in ("/kvman/dump?after_base64=%2F%2F0%3D", "/kvman/dump?after=%FF%FD"):
        client = node.connect()
        client.begin("GET", target)
        node.turn(3)
        assert client.reply().json == [{"key": None, "key_base64": "//4=", "value": "b"}]
    assert Parameters(HttpLimits(), query=b"after_base64=").after() is None


BAD_BASE64 = {
    "letters that are none": "a*==",
    "no padding": "YWI",
    "too much padding": "YWI==",
    "something after the padding": "YQ==YQ==",
    "a blank": "YW I=",
    "a blank that was a plus": "+/8=",
    "a newline": "YWI=\n",
    "letters of URLs": "_-8=",
    "half a byte too many": "YWJ=",
    "no ASCII": "YWé=",
}


@pytest.mark.parametrize("bad", BAD_BASE64.values(), ids=BAD_BASE64)
@pytest.mark.parametrize("name", ["key", "value", "expect"])
def test_bad_base64_is_refused_by_name(name: str, bad: str, node: Node) -> None:
    given = {"key": "taken", "value": "b", "expect": "old"}
    del given[name]
    parameters = form(**given) + f"&{name}_base64=".encode() + bad.encode()
    reply = node.ask("POST", "/kv/cas", parameters)

    assert (reply.status, reply.json["applied"]) == (400, "no")
    assert f"The parameter {name}_base64 is no base64" in reply.json["message"]
    assert len(node.store.writes) == 1


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("/kv/cas?key=a&key_base64=YQ==&value=b&expect=c", b"", None),
        ("/kv/cas", b"key=a&value=b&value_base64=Yg==&expect=c", None),
        ("/kv/cas", b'{"key":"a","value":"b","expect":"c","expect_base64":"Yw=="}', JSON),
        ("/kv/cas?key=a", b"key_base64=YQ==&value=b&expect=c", None),
        ("/kv/cas?key_base64=YQ==", b"key=a&value=b&expect=c", None),
    ],
)
def test_a_parameter_may_not_be_given_plain_and_in_base64(
    target: str, body: bytes, content_type: str | None, node: Node
) -> None:
    reply = node.ask("POST", target, body, content_type)

    assert reply.status == 400
    assert "in base64 too" in reply.json["message"]
    assert len(node.store.writes) == 1


def test_limits_are_of_the_bytes_and_not_of_their_base64() -> None:
    limits = HttpLimits(key_bytes_max=3, value_bytes_max=3)

    assert Parameters(limits, query=b"key_base64=YWJj").key() == b"abc"
    with pytest.raises(TooLarge, match="the key has 4 bytes, and the limit is 3"):
        Parameters(limits, query=b"key_base64=YWJjZA==").key()
    with pytest.raises(BadRequest, match="the key is empty"):
        Parameters(limits, query=b"key_base64=").key()
    assert Parameters(limits, query=b"value_base64=").value() == b""


def test_the_longest_values_fit_into_a_body_in_base64(node: Node) -> None:
    longest = quote_plus(b64encode(b"\xff" * MIB))
    node.store.apply(Set(b"taken", b"\xff" * MIB))
    body = f"key=taken&expect_base64={longest}&value_base64={longest}".encode()

    client = node.connect()
    client.begin("POST", "/kv/cas", body)
    # So much is read in several turns.
    node.turn(10)
    assert client.reply(to="POST").json == {"success": "true"}


def test_base64_is_for_bytes_only(node: Node) -> None:
    reply = node.ask("GET", "/kv/get?key=taken&consistency_base64=c3RhbGU=&timeout_base64=NQ==")

    assert (reply.status, reply.headers["x-kvpaxos-read"]) == (200, "quorum")


CONTENT_TYPES = [
    None,
    "",
    FORM,
    FORM + "; charset=latin-1",
    "text/plain",
    "application/octet-stream",
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=cut",
    "multipart/form-data; boundary=" + ";" * 5000,
    "nonsense",
    ";;;",
]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_form_is_read_whatever_its_content_type_says(
    method: str, content_type: str | None, node: Node
) -> None:
    body = form(key="a&b", value="c d")

    assert node.ask(method, "/kv/insert", body, content_type).json == {"success": "true"}
    assert node.ask("GET", "/kv/get?key=a%26b").json["value"] == "c d"


def test_a_body_wins_over_the_query(node: Node) -> None:
    bodies: list[tuple[bytes, str | None]] = [
        (form(value="body"), None),
        (b'{"value":"body"}', "application/json"),
        (multipart(value="body"), "multipart/form-data; boundary=cut"),
    ]
    for body, content_type in bodies:
        node.ask("POST", "/kv/set?key=k&value=query", body, content_type)
        assert node.ask("GET", "/kv/get?key=k").json["value"] == "body"


def test_a_read_may_have_its_parameters_in_the_body_too(node: Node) -> None:
    assert node.ask("GET", "/kv/get?key=none", b"key=taken").json["value"] == "old"
    assert node.ask("GET", "/kv/get", b'{"key":"taken"}', "application/json").json["value"] == "old"


def test_a_path_that_takes_no_parameters_does_not_read_the_body(node: Node) -> None:
    assert node.ask("GET", "/kvman/status", b"{", "application/json").status == 200


def test_null_in_json_means_not_given(node: Node) -> None:
    body = b'{"key":"a","expect":null,"value":"b"}'

    assert node.ask("POST", "/kv/cas", body, "application/json").json == {"success": "true"}


def test_numbers_in_json_are_numbers_and_no_keys(node: Node) -> None:
    kind = "application/json"

    assert node.ask("POST", "/kv/set", b'{"key":"a","value":"b","timeout":2}', kind).status == 200
    assert node.store.writes[-1][1] == 2.0
    assert node.ask("POST", "/kv/set", b'{"key":1,"value":"b"}', kind).status == 400
    assert node.ask("POST", "/kv/set", b'{"key":"a","value":1.5}', kind).status == 400


class Bad(NamedTuple):
    rule: str
    body: bytes
    content_type: str | None = None


MALFORMED = [
    Bad("JSON that is cut off", b'{"key":"a","value":"b"', JSON),
    Bad("JSON with something after it", b'{"key":"a","value":"b"} x', JSON),
    Bad("a JSON list", b'["key","a"]', JSON),
    Bad("a JSON string", b'"key"', JSON),
    Bad("JSON null", b"null", JSON),
    Bad("JSON that is not UTF-8", b'{"key":"a","value":"\xff"}', JSON),
    Bad("JSON in UTF-16", '{"key":"a","value":"b"}'.encode("utf-16"), JSON),
    Bad("JSON with NaN", b'{"key":"a","value":"b","timeout":NaN}', JSON),
    Bad("half of a surrogate pair", b'{"key":"\\ud800","value":"b"}', JSON),
    Bad("a value that is a list", b'{"key":"a","value":["b"]}', JSON),
    Bad("a value that is true", b'{"key":"a","value":true}', JSON),
    Bad("a timeout that is an object", b'{"key":"a","value":"b","timeout":{}}', JSON),
    Bad(
        "a timeout of a million digits",
        b'{"key":"a","value":"b","timeout":1%s}' % (b"0" * 10**6),
        JSON,
    ),
    Bad("a deep nest", b'{"key":' + b"[" * 10**6, JSON),
    Bad("a name twice in JSON", b'{"key":"a","key":"a","value":"b"}', JSON),
    Bad("too many names in JSON", json.dumps({str(n): "" for n in range(33)}).encode(), JSON),
    Bad("a name twice in a form", b"key=a&value=b&key=a"),
    Bad("a name twice, once escaped", b"key=a&value=b&%6Bey=a"),
    Bad("too many names in a form", b"&".join(b"n%d=" % n for n in range(33))),
    Bad("a million separators", b"&" * 10**6),
    Bad("JSON that says it is a form", b'{"key":"a","value":"b"}', FORM),
    Bad("JSON of no type", b'{"key":"a","value":"b"}'),
    Bad("a multipart body without an end", multipart(key="a", value="b")[:-4], MULTIPART),
    Bad(
        "a part without a name",
        b"--cut\r\nContent-Disposition: form-data\r\n\r\na\r\n--cut--",
        MULTIPART,
    ),
    Bad("a part without a head", b"--cut\r\n\r\na\r\n--cut--", MULTIPART),
    Bad(
        "a part without content", b"--cut\r\nContent-Disposition: x; name=key\r\n--cut--", MULTIPART
    ),
    Bad(
        "a part with an endless head",
        multipart(key="a", value="b").replace(b'"key"', b'key; x="' + b";" * 2000),
        MULTIPART,
    ),
    Bad(
        "an endless content type",
        multipart(key="a", value="b"),
        'multipart/form-data; boundary=cut; x="' + ";" * 2000,
    ),
    Bad(
        "a name twice in parts", multipart(key="a")[:-9] + multipart(key="a", value="b"), MULTIPART
    ),
    Bad("too many parts", multipart(**{f"n{n}": "" for n in range(33)}), MULTIPART),
]


@pytest.mark.parametrize("bad", MALFORMED, ids=lambda bad: bad.rule)
def test_a_malformed_body_is_refused(bad: Bad, node: Node) -> None:
    reply = node.ask("POST", "/kv/set", bad.body, bad.content_type)

    assert (reply.status, reply.json["applied"]) == (400, "no")
    assert len(node.store.writes) == 1


def test_too_many_parameters_cost_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match="more than 32 parameters"):
            at_once(read_form(b"&" * 10**6, parameters_max=32))
        assert tracemalloc.get_traced_memory()[1] < 4 * 10**6
    finally:
        tracemalloc.stop()


def test_a_parameter_may_not_be_twice_in_the_query(node: Node) -> None:
    assert node.ask("GET", "/kv/get?key=taken&key=taken").status == 400


def test_a_compressed_body_is_refused(node: Node) -> None:
    reply = node.connect().ask(
        "POST", "/kv/set", b"\x1f\x8b&key=a&value=b", Content_Encoding="gzip"
    )

    assert reply.status == 400
    assert "compressed" in reply.json["message"]


def test_a_file_in_a_multipart_body_is_a_value_byte_for_byte(node: Node) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nfile\r\n'
        b'--x\r\nContent-Disposition: form-data; name="value"; filename="a b"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n\r\n--y\n\r\0\xff\r\n--x--\r\n"
    )
    node.ask("POST", "/kv/set", body, 'multipart/form-data; boundary="x"')

    value = node.ask("GET", "/kv/get?key=file").json["value_base64"]
    assert value == b64encode(b"\r\n\r\n--y\n\r\0\xff").decode()


def test_a_part_of_a_multipart_body_may_have_no_body_of_its_own(node: Node) -> None:
    # RFC 2046 lets a part end with its head; some clients write an empty field so.
    body = (
        b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\na\r\n'
        b'--x\r\nContent-Disposition: form-data; name="value"\r\n\r\n--x--\r\n'
    )
    assert node.ask("POST", "/kv/set", body, "multipart/form-data; boundary=x").status == 200
    assert node.ask("GET", "/kv/get?key=a").json["value"] == ""


@pytest.mark.parametrize("number", ["5e-324", "1E-100", "0.5e+1", "50000e-3", "7.0"])
def test_a_number_may_be_spelled_in_every_way_that_json_knows(number: str, node: Node) -> None:
    for target, body in [
        (f"/kv/set?key=a&value=b&timeout={number.replace('+', '%2B')}", b""),
        ("/kv/set", b'{"key":"a","value":"b","timeout":%s}' % number.encode()),
    ]:
        assert node.ask("POST", target, body, JSON).status == 200
        assert node.store.writes[-1][1] == float(number)


def test_a_value_that_is_not_utf_8_comes_back_in_base64(node: Node) -> None:
    node.ask("POST", "/kv/set", b"key=a&value=%FF%00x")
    for method, target in [
        ("GET", "/kv/get?key=a"),
        ("POST", "/kv/update?key=a&value=%FF%00x"),
        ("POST", "/kv/append?key=a&value="),
        ("POST", "/kv/cas?key=a&value=x"),
        ("POST", "/kv/delete?key=a"),
    ]:
        reply = node.ask(method, target).json
        assert (reply["value"], reply["value_base64"]) == (None, "/wB4")


def test_a_key_need_not_be_utf_8(node: Node) -> None:
    node.ask("POST", "/kv/set", b"key=%FF%FE&value=b")

    assert node.ask("GET", "/kv/get?key=%FF%FE").json["value"] == "b"


def test_unknown_parameters_are_ignored(node: Node) -> None:
    assert node.ask("GET", "/kv/get?key=taken&colour=red").json["value"] == "old"
    body = b'{"key":"a","value":"b","colour":["red"]}'
    assert node.ask("POST", "/kv/set", body, "application/json").status == 200


@given(st.binary(max_size=300), st.sampled_from([b"", JSON.encode(), MULTIPART.encode()]))
def test_garbage_gives_parameters_or_a_refusal(garbage: bytes, content_type: bytes) -> None:
    def read(query: bytes, body: bytes) -> None:
        try:
            asked = Parameters(HttpLimits(), query=query, content_type=content_type, body=body)
            asked.key(), asked.value(), asked.timeout_s(), asked.stale()
        except BadRequest:
            pass  # The only exception that garbage may lead to, TooLarge among its kinds.

    read(garbage, b"")
    read(b"", garbage)
    read(b"", b"--cut\r\nContent-Disposition: " + garbage + b"\r\n--cut--")
    read(b"", b'{"key":' + garbage + b"}")


@given(st.binary(max_size=50), st.binary(min_size=1, max_size=50))
def test_bytes_survive_a_form_and_a_multipart_body(value: bytes, key: bytes) -> None:
    escaped = "key=" + quote_plus(key) + "&value=" + quote_plus(value)
    parts = b"".join(
        b'--no such text\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % part
        for part in ((b"key", key), (b"value", value))
    )
    kind = b'multipart/form-data; boundary="no such text"'
    read: list[dict[str, Any]] = [
        {"query": escaped.encode()},
        {"query": b"", "body": escaped.encode()},
        {"query": b"", "body": parts + b"--no such text--", "content_type": kind},
    ]
    for source in read:
        asked = Parameters(HttpLimits(), **source)
        assert (asked.key(), asked.value()) == (key, value)


@pytest.mark.parametrize("bad", ["0", "0.0", "1e-400", "61", "-1", "nan", "soon", ""])
def test_a_bad_timeout_is_told_the_whole_rule(bad: str) -> None:
    with pytest.raises(BadRequest, match=r"^timeout must be a number above 0 and at most 60$"):
        Parameters(HttpLimits(), query=f"timeout={bad}".encode()).timeout_s()


def test_limits_are_those_of_the_settings() -> None:
    limits = HttpLimits(key_bytes_max=2, value_bytes_max=3)

    Parameters(limits, query=b"key=kk").key()
    Parameters(limits, query=b"value=vvv").value()
    with pytest.raises(TooLarge, match="3 bytes, and the limit is 2"):
        Parameters(limits, query=b"key=kkk").key()
    with pytest.raises(TooLarge, match="4 bytes, and the limit is 3"):
        Parameters(limits, query=b"value=vvvv").value()


ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")
TOKENS = b"%|=|\n|\r|\r\n| |\t|+|A|0d|0a|zz|%41|%3d|%0a|_|\x00|\xff|%0D%0A|%2B|%%".split(b"|")


def unescaped(raw: bytes) -> bytes:
    """Return ``raw`` without its escapes, the slow way."""
    return ESCAPES.sub(
        lambda run: bytes.fromhex(run[0].replace(b"%", b"").decode()), raw.replace(b"+", b" ")
    )


@given(st.lists(st.sampled_from(TOKENS), max_size=20).map(b"".join), st.integers(3, 9))
def test_every_escape_stands_for_its_byte_and_no_other_stretch_is_touched(
    raw: bytes, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bodies, "STEP_BYTES", step)
        ((_, value),) = at_once(read_form(b"v=" + raw, parameters_max=1))
    assert value == unescaped(raw)


@pytest.mark.parametrize("escape", [b"%41", b"a%20", b"%", b"%%4"])
def test_a_long_form_is_read_in_short_steps(escape: bytes) -> None:
    raw = escape * (10 * bodies.STEP_BYTES // len(escape))
    steps = read_form(b"value=" + raw, parameters_max=1)
    assert sum(1 for _ in steps) >= 10
    ((_, value),) = at_once(read_form(b"value=" + raw, parameters_max=1))
    assert value == unescaped(escape) * (len(raw) // len(escape))
