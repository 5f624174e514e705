"""The command line of a node: what it settles, and how it refuses."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from twisted.application.twist._options import TwistOptions
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions

from kvpaxos.config.cluster import default_cluster
from kvpaxos.config.settings import render
from kvpaxos.errors import ConfigError, StartError
from kvpaxos.node import logs
from kvpaxos.node.options import Options
from kvpaxos.node.settings import read_settings


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def embedded(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def twistd(*arguments: str) -> ServerOptions:
    parent = ServerOptions()
    usage.Options.parseOptions(parent, arguments)
    return parent


def started(parent: usage.Options, *arguments: str) -> Options:
    options = Options()
    options.parent = parent
    options.parseOptions([*arguments, "--http", free(), "--peer", free()])
    return options


def free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp:{probe.getsockname()[1]}:interface=127.0.0.1"


def test_without_a_settings_file_there_are_three_nodes_on_loopback(empty_directory: Path) -> None:
    options = embedded("--node", "n02")
    assert options.cluster_config().members == ("n01", "n02", "n03")
    node = options.node_config()
    assert (node.node, node.url) == ("n02", "http://127.0.0.1:8802")
    assert node.data == str(empty_directory / "data" / "n02")


def test_the_settings_file_in_its_usual_place_is_read(empty_directory: Path) -> None:
    (empty_directory / "conf").mkdir()
    (empty_directory / "conf" / "settings.conf").write_text(render(default_cluster(5)))
    assert embedded("--node", "n05").cluster_config().members == ("n01", "n02", "n03", "n04", "n05")
    assert read_settings(None) == read_settings("conf/settings.conf") == default_cluster(5)


def test_a_node_that_is_alone_need_not_be_named(empty_directory: Path) -> None:
    (empty_directory / "one.conf").write_text('{"n07": "127.0.0.1", "port": "8801"}')
    assert embedded("--config", "one.conf").node_config().node == "n07"


def test_options_win_over_settings() -> None:
    options = embedded(
        *("--node", "n02", "--data", "/d", "--http", "tcp:1", "--peer", "unix:p"),
        "--allow-partitions",
    )
    node = options.node_config()
    assert (node.data, node.http, node.peer) == ("/d", "tcp:1", "unix:p")
    assert options.cluster_config().node("n02") == node
    assert options.cluster_config().node("n01") == default_cluster().node("n01")
    assert options.cluster_config().options.allow_partitions
    plain = embedded("--node", "n02").cluster_config().options
    assert not plain.allow_partitions


def test_a_node_may_rejoin_if_it_is_told_so_or_keeps_nothing(empty_directory: Path) -> None:
    assert not embedded("--node", "n02").may_rejoin()
    assert embedded("--node", "n02", "--rejoin").may_rejoin()
    volatile = embedded("--node", "n02", "--volatile")
    assert volatile.may_rejoin()
    assert volatile.cluster_config().options.volatile
    (empty_directory / "s.conf").write_text('{"n01": "127.0.0.1", "port": 8801, "volatile": "yes"}')
    assert embedded("--config", "s.conf").may_rejoin()


def test_a_volatile_node_asks_for_no_directory(empty_directory: Path) -> None:
    (empty_directory / "file").write_text("")
    data = ("--data", "file/n02")
    started(twistd("-n"), "--node", "n02", "--volatile", *data)
    with pytest.raises(SystemExit):
        started(twistd("-n"), "--node", "n02", *data)


BAD_ARGUMENTS: list[tuple[tuple[str, ...], str]] = [
    ((), "--node is missing; say which of n01, n02, n03 it is."),
    (("--node", "n09"), "the built-in settings: there is no node 'n09'; name n01, n02 or n03."),
    (
        ("--config", "no.conf"),
        "no.conf: No such file or directory; name a settings file that can be read.",
    ),
    (("--config", "."), ".: Is a directory; name a settings file that can be read."),
    (("--frobnicate",), "option --frobnicate not recognized; --help lists the options of a node."),
    (("--node",), "option --node requires argument; --help lists the options of a node."),
    (("stray",), "Wrong number of arguments; --help lists the options of a node."),
    (
        ("--node", "n01", "--http", "8801"),
        (
            '--http is "8801", which is no endpoint such as "tcp:7701:interface=127.0.0.1";'
            ' write it as "tcp:PORT:interface=ADDRESS".'
        ),
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_ARGUMENTS)
def test_embedded_a_mistake_is_raised(arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        embedded(*arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("arguments", "sentence"), BAD_ARGUMENTS)
def test_under_twistd_a_mistake_ends_the_process_with_one_sentence_and_status_2(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Options()
    options.parent = twistd("-n")
    with pytest.raises(SystemExit) as caught:
        options.parseOptions(arguments)
    assert caught.value.code == 2
    assert capfd.readouterr() == ("", f"kvpaxos: {sentence}\n")


def test_a_settings_file_that_is_wrong_is_named(
    empty_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_directory / "bad.conf").write_text('{"n01": "127.0.0.1", "port": "x"}')
    options = Options()
    options.parent = twistd("-n")
    with pytest.raises(SystemExit) as caught:
        options.parseOptions(["--config", "bad.conf"])
    assert caught.value.code == 2
    sentence = 'kvpaxos: bad.conf: "port" is "x"; make it a whole number from 1 to 65535.\n'
    assert capfd.readouterr().err == sentence


def test_what_goes_wrong_after_the_options_ends_the_process_alike(
    empty_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parent = twistd("-n")
    options = started(parent, "--node", "n01")
    pid_file = empty_directory / parent["pidfile"]
    pid_file.write_text(str(os.getpid()))
    with pytest.raises(SystemExit) as caught:
        options.refuse(StartError("the directory belongs to n02."))
    assert caught.value.code == 2
    assert capfd.readouterr().err == "kvpaxos: the directory belongs to n02.\n"
    assert not pid_file.exists()


def test_the_pid_file_of_another_process_is_left_alone(empty_directory: Path) -> None:
    parent = twistd("-n", "--pidfile", "other.pid")
    options = started(parent, "--node", "n01")
    (empty_directory / "other.pid").write_text("1")
    with pytest.raises(SystemExit):
        options.refuse(StartError("no."))
    assert (empty_directory / "other.pid").read_text() == "1"


def test_who_daemonized_the_process_is_told_why_it_ends() -> None:
    reading, writing = os.pipe()
    parent = twistd()
    options = started(parent, "--node", "n01")
    parent["statusPipe"] = writing
    with pytest.raises(SystemExit):
        options.refuse(StartError("no disk, " + "no fun, " * 20))
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert told.startswith(b"1 no disk")
    assert len(told) == 100


def test_embedded_what_goes_wrong_after_the_options_is_raised() -> None:
    with pytest.raises(StartError, match="belongs"):
        embedded("--node", "n01").refuse(StartError("the directory belongs to n02."))


@pytest.mark.parametrize(
    ("arguments", "pid_file", "log_file"),
    [
        ([], "kvpaxos-n02.pid", "kvpaxos-n02.log"),
        (["-n"], "kvpaxos-n02.pid", None),
        (["--pidfile", "a.pid", "--logfile", "a.log"], "a.pid", "a.log"),
        (["-n", "--pidfile=", "--logfile", "-"], "", "-"),
    ],
)
def test_each_node_has_files_of_its_own_in_one_directory(
    arguments: list[str], pid_file: str, log_file: str | None
) -> None:
    parent = twistd(*arguments)
    pid_default = parent["pidfile"]
    # twistd makes the name absolute only after the options of the plugin are read.
    parent["pidfile"] = "twistd.pid" if pid_default.endswith("/twistd.pid") else pid_default
    started(parent, "--node", "n02")
    assert Path(parent["pidfile"]).name == pid_file
    assert parent["logfile"] == log_file


def test_a_daemon_cannot_log_to_its_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        started(twistd("--logfile", "-"), "--node", "n01")
    assert capfd.readouterr().err == (
        "kvpaxos: A daemon has no standard output; name a file with --logfile.\n"
    )


def test_under_twistd_our_observer_logs() -> None:
    parent = twistd("-n")
    started(parent, "--node", "n01", "--log-format", "json", "--log-level", "debug")
    assert parent["logger"] == "kvpaxos.node.logs.observer"
    assert logs._process == logs.LogSettings("n01", form="json", level="debug", path=None)


def test_a_daemon_logs_into_its_file() -> None:
    started(twistd(), "--node", "n03")
    assert logs._process == logs.LogSettings("n03", path="kvpaxos-n03.log")


@pytest.mark.parametrize("arguments", [["--syslog"], ["--logger", "test.observer"]])
def test_an_observer_that_the_command_line_chooses_stays(arguments: list[str]) -> None:
    parent = ServerOptions()
    parent["logger"] = None
    if arguments[0] == "--syslog":
        parent["syslog"] = True
    else:
        parent["logger"] = arguments[1]
    before = parent["logger"]
    started(parent, "--node", "n01")
    assert parent["logger"] == before


def test_under_twist_our_observer_logs_in_the_form_that_twist_was_asked_for() -> None:
    parent = TwistOptions()
    parent.selectDefaultLogObserver()
    parent.opt_log_format("json")
    started(parent, "--node", "n01")
    factory = parent["fileLogObserverFactory"]
    assert factory.func is logs.observer_of
    assert factory.args == (logs.LogSettings("n01", form="json"),)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--log-format", "xml"), '--log-format is "xml"; make it text or json.'),
        (
            ("--log-level", "loud"),
            '--log-level is "loud"; choose from debug, info, warn, error, critical.',
        ),
    ],
)
def test_a_log_that_cannot_be(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        started(twistd("-n"), "--node", "n01", *arguments)
    assert capfd.readouterr().err == f"kvpaxos: {sentence}\n"


def test_a_port_that_is_taken_is_said_before_anything_starts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = Options()
        options.parent = twistd("-n")
        with pytest.raises(SystemExit) as caught:
            options.parseOptions(["--node", "n01", "--http", f"tcp:{port}:interface=127.0.0.1"])
    assert caught.value.code == 2
    assert capfd.readouterr().err == (
        f"kvpaxos: n01 cannot serve http: port {port} of 127.0.0.1 is taken by another process;"
        " stop that one, or choose another port.\n"
    )


def test_embedded_nothing_is_tried_and_nothing_is_made(empty_directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        embedded("--node", "n01", "--http", f"tcp:{port}:interface=127.0.0.1")
    assert list(empty_directory.iterdir()) == []


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        embedded("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == "kvpaxos 0.1.0\n"
