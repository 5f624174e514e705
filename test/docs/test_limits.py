"""Every limit that ``/kvman/limits`` names is reached in a test, and this says in which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from test.docs.test_docs import limits

TESTS = Path(__file__).parents[1]

REACHED = {
    "ahead_slots_max": "paxos/test_acceptor.py::test_what_is_too_far_ahead_is_not_answered",
    "batch_bytes_max": "paxos/test_proposer.py::test_at_most",
    "batch_commands_max": "paxos/test_proposer.py::test_at_most",
    "bodies_bytes_max": "node/http/test_connection.py::test_all_bodies_together_have_a_limit",
    "body_bytes_max": "node/http/test_connection.py::test_a_body_of_exactly_the_limit_passes",
    "catch_up_commands_max": "paxos/test_catchup.py::test_at_most",
    "catch_up_slots_max": "paxos/test_catchup.py::test_at_most",
    "client_sessions_bytes_max": "store/test_recent.py::test_bounds",
    "client_sessions_max": "store/test_recent.py::test_bounds",
    "command_bytes_max": "config/test_settings.py"
    "::test_what_storage_may_be_is_what_journal_and_engine_can_do",
    "compare_slots": "node/test_comparer.py::test_states_are_compared_after_so_many_slots",
    "compared_slots_max": "paxos/test_comparison.py::test_only_the_last_slots_are_kept",
    "connections_max": "processes/test_careless_clients.py"
    "::test_a_thousand_idle_connections_hold_up_nobody_and_leave_nothing_behind",
    "delay_s_max": "node/test_switches.py::test_what_makes_no_sense_is_refused_and_changes_nothing",
    "disk_high_bytes": "node/test_space.py"
    "::test_the_alarm_is_said_once_and_ends_by_itself_only_at_high_water",
    "disk_low_bytes": "processes/test_full_disks.py"
    "::test_a_full_node_refuses_what_would_fill_it_and_recovers_by_itself",
    "disk_release_bytes": "node/test_space.py"
    "::test_the_reserve_is_given_up_when_the_disk_is_full_and_made_again_with_room_for_it",
    "dumps_max": "node/http/test_dump.py::test_too_many_dumps_are_refused_until_one_is_over",
    "flush_age_s": "node/test_persister.py"
    "::test_little_is_flushed_once_it_is_old_and_nothing_never",
    "flush_bytes": "node/test_persister.py"
    "::test_a_flush_vouches_only_for_what_was_applied_before_it_began",
    "flush_slack_bytes": "node/test_space.py"
    "::test_the_state_is_flushed_only_if_that_leaves_something_over",
    "frame_bytes_max": "node/test_outgoing.py"
    "::test_a_long_message_leaves_chunk_by_chunk_and_short_ones_pass_between_in_order",
    "head_bytes_max": "node/http/test_connection.py"
    "::test_what_is_too_large_gets_a_reply_in_json_and_is_closed",
    "hops_max": "paxos/test_forwarding.py::test_a_message_says_how_often_it_may_be_passed_on",
    "identifier_bytes_max": "node/http/test_rules.py::test_each_rule_holds_at_each_path",
    "idle_s_max": "node/http/test_connection.py::test_a_silent_connection_is_closed",
    "inbox_max": "node/test_driver.py::test_peers_are_not_read_from_while_the_inbox_is_full",
    "journal_bytes_max": "processes/test_lost_disks.py"
    "::test_a_node_that_was_away_for_too_long_gets_the_state_and_takes_part",
    "journal_page_bytes_max": "journal/test_reader.py"
    "::test_a_range_is_cut_by_bytes_but_never_to_nothing",
    "journal_slots_max": "node/http/test_admin.py::test_the_journal_is_asked_for_slots",
    "key_bytes_max": "node/http/test_rules.py::test_each_rule_holds_at_each_path",
    "linger_bytes_max": "node/http/test_connection.py"
    "::test_what_follows_a_refusal_is_thrown_away_for_a_while",
    "linger_s_max": "node/http/test_connection.py"
    "::test_what_follows_a_refusal_is_thrown_away_for_a_while",
    "lookup_bytes_max": "journal/test_reader.py::test_a_range_is_cut_by_bytes_but_never_to_nothing",
    "lookup_commands_max": "journal/test_reader.py"
    "::test_a_range_is_cut_by_commands_but_never_to_nothing",
    "memory_bytes": "big/fill.py::main",
    "recent_commands_max": "paxos/test_learner.py::test_so_many_commands_are_remembered",
    "message_bytes_max": "paxos/test_acceptor.py::test_a_promise_is_cut_in_parts_by_bytes",
    "open_bytes_max": "paxos/test_proposer.py"
    "::test_so_many_bytes_in_open_slots_make_no_room_for_another",
    "open_slots_max": "paxos/test_proposer.py"
    "::test_slots_that_were_decided_above_an_open_one_make_no_room",
    "opid_max": "node/http/test_rules.py::test_each_rule_holds_at_each_path",
    "page_bytes_max": "node/http/test_dump.py"
    "::test_a_slow_client_is_sent_no_more_than_about_a_page",
    "page_entries_max": "node/http/test_dump.py::test_limit_and_after_page_through_all_pairs",
    "page_s_max": "node/http/test_dump.py::test_a_client_that_reads_no_page_in_time_is_cut_off",
    "parameters_max": "node/http/test_parameters.py::test_too_many_parameters_cost_no_memory",
    "peer_express_bytes_max": "node/test_outgoing.py"
    "::test_beyond_the_limit_frames_are_refused_but_express_ones_have_room_of_their_own",
    "peer_message_bytes_max": "node/test_links_pressure.py"
    "::test_a_message_too_long_for_the_cluster_is_dropped_and_counted",
    "peer_queue_bytes_max": "node/test_links_pressure.py"
    "::test_a_flood_to_a_peer_that_does_not_read_is_bounded_and_counted",
    "queue_bytes_max": "paxos/test_proposer.py::test_the_queue_is_bounded",
    "queue_commands_max": "paxos/test_proposer.py::test_the_queue_is_bounded",
    "recent_bytes_max": "paxos/test_learner.py::test_the_oldest_are_dropped_where_memory_ends",
    "request_bytes_max": "node/test_requests.py"
    "::test_too_many_bytes_are_refused_and_room_comes_back",
    "request_ids_bytes_max": "store/test_recent.py::test_bounds",
    "request_ids_max": "store/test_recent.py::test_bounds",
    "requests_max": "processes/test_careless_clients.py"
    "::test_writes_whose_clients_are_gone_wait_for_a_quorum_and_are_bounded",
    "reserve_bytes": "node/test_space.py::test_the_reserve_holds_what_a_node_may_need_at_once",
    "scan_bytes_per_s": "node/test_scanner.py"
    "::test_a_scan_that_pauses_ends_at_once_when_it_is_stopped",
    "scan_every_s": "node/test_scanner.py::test_journal_and_state_are_read_once_a_period",
    "segment_bytes": "journal/test_reader.py"
    "::test_reading_goes_on_while_the_writer_writes_rotates_and_forgets",
    "snapshot_slots": "node/test_persister.py::test_many_slots_are_flushed_however_small_they_are",
    "strangers_max": "node/test_links_strangers.py"
    "::test_silent_strangers_are_bounded_and_the_oldest_goes_first",
    "timeout_s_max": "node/http/test_rules.py::test_each_rule_holds_at_each_path",
    "unsettled_max": "paxos/test_outbox.py::test_what_is_settled_makes_room_for_the_next",
    "value_bytes_max": "node/http/test_rules.py::test_each_rule_holds_at_each_path",
}

NO_BOUNDS = {"disk_look_s", "journal_slots_default", "timeout_s_default"}
"""What is named beside the limits."""


def test_every_limit_is_reached_in_a_test() -> None:
    assert set(REACHED) == set(limits()) - NO_BOUNDS


@pytest.mark.parametrize("limit", sorted(REACHED))
def test_the_test_that_reaches_a_limit_exists(limit: str) -> None:
    path, _, name = REACHED[limit].partition("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}
