"""The command as a user runs it. Below: every fault that must be survived, and the test that shows it.

A test of this package, or, where virtual time or a fuzzer is the better judge, a test under `tests/unit`. Each one
here ends with `check_invariants` (tests/invariants.py). `test_fault_table.py` holds this table to the truth.

| network and API | shown by |
|---|---|
| connection refused at start | test_a_server_that_is_not_there_yet_is_waited_for, test_nothing_listens_and_the_run_says_so |
| connection refused for seconds mid-run | test_a_server_that_goes_for_seconds_and_comes_back_is_waited_for |
| reset before the request is read, after the commit; answer or commit later than the timeout; no answer; half an answer, wrong content-length, invalid JSON, 201 without id; one byte per second; 500, 502, 503, 504, 52x with and without commit; HTML 403; 409 | test_each_record_survives_another_fault, test_nothing_is_lost_or_doubled_where_every_third_post_meets, test_nothing_is_lost_or_doubled |
| all of these at random | test_a_mixture_drawn_at_random, test_no_session_is_lost_or_doubled |
| a commit that shows late (60 s against 90, scaled), or later than anybody looks | test_each_record_survives_another_fault, test_a_commit_that_shows_late_is_waited_for, test_a_commit_that_shows_later_than_anybody_looks_is_not_sent_again |
| stale keep-alive | test_each_record_survives_another_fault, test_a_connection_that_the_server_closes_when_idle_costs_nothing |
| 429 with Retry-After in seconds, as a date (to come, past, absurd), negative, absurd, garbage, missing; 408; 503 with Retry-After | test_who_is_told_to_wait_waits_and_uses_up_no_attempt, test_a_pause_that_was_asked_for_is_kept_by_everybody |
| limits of 0.5, 2, 5, 40, 300 a second | test_a_limit_that_nobody_told_us_is_lived_with |
| a limit that falls or rises | test_a_limit_that_changes_in_the_middle_is_lived_with |
| rising latency without 429 | test_answers_that_come_later_and_later_are_lived_with |
| a second client on the limit | test_another_client_on_the_same_limit_gets_its_share_and_disturbs_nothing |
| a rate that was given, through faults | test_a_rate_that_was_given_is_kept_through_faults, test_the_given_rate_is_never_exceeded |
| a storm of 503 | test_a_storm_of_503_on_every_route_is_waited_out, test_an_outage_of_minutes_loses_nothing_and_fails_few |
| 401, JSON 403, 404, HTML 404, 405, 3xx mid-run; 401 to a look-up | test_a_refusal_of_the_route_or_the_key_mid_run_stops_it_and_rejects_nothing, test_a_redirect_is_never_followed_with_the_key, test_401_to_a_look_up_stops_the_run |
| HTML 403 for good | test_a_record_that_the_proxy_never_lets_through_has_failed_and_is_not_there |
| 400, 413, 415, 422 for one among many | test_one_refused_record_among_many_is_a_reject, test_a_body_that_is_too_long_for_the_server_is_a_reject |
| the same for all | test_the_same_refusal_for_all_stops_the_run_even_late |
| duplicates on the server: same or other payload, deleted (holding their id or not) | test_what_is_there_already_is_named_for_what_it_is, test_a_lost_ledger_finds_its_sessions_again |
| a version made, or deleted, between two attempts | test_a_version_that_appears_between_two_attempts_gets_no_second_copy, test_a_version_that_is_deleted_between_two_attempts_stops_nothing |
| GET that pages, answers 414 or an HTML 403 | test_look_ups_find_everything_where_lists_have |
| GET that fails, for a while or for good | test_look_ups_that_fail_are_asked_again, test_what_no_look_up_can_settle_is_unknown_until_one_can |
| updates under faults, refused, of sessions that are gone | test_an_update_survives_it_too, test_an_update_of_a_session_that_is_gone_is_a_reject_of_that_one_only |
| custom ids with `&`, `%`, spaces, unicode, over 200 characters | test_ids_that_no_url_likes_are_found_again |

| turns, spans and the end of a session | shown by |
|---|---|
| every trouble above with a turn, a batch of turns, spans, the end | test_no_turn_is_lost_or_doubled |
| 429, 408, 503 with Retry-After to turns and spans | test_who_is_told_to_wait_with_a_turn_sends_it_once |
| questions about turns and spans that fail | test_questions_about_turns_that_fail_are_asked_again |
| a turn or span that shows late; a batch of which a part was stored | test_a_turn_that_shows_late_is_waited_for, test_a_batch_of_which_only_a_part_was_stored_is_filled_up |
| sessions that are closed (REJECT, IGNORE, REOPEN), or close in between | test_a_session_that_closed_meanwhile_gets_its_turns, test_a_session_that_somebody_closes_in_between |
| a turn or spans that are refused, or too long | test_a_refused_turn_leaves_the_rest_and_is_told, test_refused_spans_go_to_the_rejects_with_the_reason, test_a_turn_that_is_too_long_for_the_server_is_told, test_a_server_that_takes_no_large_bodies_gets_smaller_ones |
| two machines on one conversation | test_two_machines_on_one_conversation_double_no_turn |
| kill -9 with any of its requests on the wire, stored or not; while a conversation is continued | test_killed_between_any_two_steps_it_goes_on, test_an_update_that_was_killed_goes_on |

| process and machine | shown by |
|---|---|
| kill -9 at every step | test_killed_at_every_step_one_after_another, test_a_kill_at_any_place_of_the_export_leaves_the_last_manifest_whole |
| kill -9 at random, hundreds of seeds | test_killed_at_random_under_faults, test_no_session_is_lost_or_doubled |
| killed every two seconds until done | test_killed_every_two_seconds_until_it_is_done |
| SIGTERM, SIGINT, SIGINT twice; in a long pause; while nobody answers | test_a_signal_drains_and_the_next_run_goes_on, test_sigint_twice_ends_at_once_with_a_manifest, test_a_signal_ends_a_long_pause, test_a_signal_ends_the_wait_for_a_server_that_is_gone |
| two runs on one ledger | test_the_second_of_two_runs_says_who_holds_the_ledger |
| two ledgers on one input | test_two_ledgers_on_one_input_double_nothing |
| disk full, failing or read-only under the ledger | test_when_the_ledger_cannot_grow_nothing_unrecorded_is_sent, test_a_disk_that_fills_up_under_the_ledger_stops_the_run_and_room_lets_it_go_on, test_a_read_only_state_directory_sends_nothing |
| the same under the manifest | test_a_manifest_that_cannot_be_written_is_written_by_the_next_run, test_a_disk_that_is_full_under_the_manifest_leaves_the_last_one_whole |
| the same while old runs are forgotten | test_old_runs_that_cannot_be_forgotten_do_not_change_how_the_run_ended |
| a rollback killed between any two steps, stopped by a signal, or with a run in the middle; resets, errors and limits while it works | test_killed_between_any_two_steps_it_goes_on, test_a_signal_ends_it_and_it_goes_on, test_a_run_between_two_halves_of_a_rollback_loses_nothing, test_through_network_faults |
| sessions deleted, changed, renamed or taken over on the server afterwards | test_each_difference_is_named, test_what_was_deleted_by_hand_is_opened_and_sent_again, test_what_the_run_did_not_create_is_not_touched |
| descriptors exhausted | test_when_descriptors_run_out_nothing_is_lost, test_from_the_start_with_few_descriptors_it_says_so_or_works |
| clock jumps | test_a_clock_that_jumps_delays_and_loses_nothing |
| a loop that stalls for seconds | test_a_process_that_stands_still_for_seconds_goes_on_and_makes_up_for_nothing, test_a_loop_that_stalls_for_seconds_loses_nothing |
| the key in the process list | test_nobody_reads_the_key_in_the_process_list |

| input | shown by |
|---|---|
| truncated compression, truncated last line | test_what_can_be_read_of_a_torn_file_is_read |
| empty file, blank lines | test_an_empty_file_and_blank_lines_are_no_records |
| a file that grows | test_a_file_that_grew_is_read_again_and_only_the_new_is_sent, test_what_could_not_be_read_in_a_growing_file_is_not_counted_again |
| a file that is replaced between a kill and the next run | test_a_killed_run_whose_file_changed_gets_its_manifest_all_the_same |
| NaN, lone surrogates, NUL, integers beyond 2^53 | test_bad_records_go_to_the_rejects_and_the_rest_is_imported |
| a line of 40 MB | test_a_record_of_40_mb_is_a_reject_with_its_position |
| duplicate ids in one file, with the same, another and a newer payload | test_duplicates_conflicts_and_newer_versions_in_one_input |
| a table cell with quotes and newlines, a row cut off | test_a_csv_export_gives_the_sessions_that_the_same_rows_as_lines_give |
| an archive that is damaged, cut off, a bomb, no archive | test_any_damage_gives_records_or_rejects, test_a_tar_that_was_cut_off_gives_what_is_there_and_says_so, test_a_bomb_is_a_reject_and_what_stands_before_is_read |
| a blob export that is being written, or copied in part | test_a_window_without_its_manifest_waits_and_comes_with_it, test_what_a_manifest_names_and_nobody_copied_is_told |
| storage that goes away in the middle, or refuses | test_a_storage_that_goes_away_in_the_middle_stops_the_run_and_the_next_one_goes_on, test_a_web_server_that_knows_no_ranges |
"""
