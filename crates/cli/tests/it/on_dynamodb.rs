//! The command line's stories once more, over a table of DynamoDB: in an emulator that `scripts/test` starts.

use std::cell::Cell;
use std::path::Path;

use coroner_store::Store;
use coroner_store::dynamodb::emulator;

use crate::rig::Home;

/// Where the emulator listens, on this machine only.
const ENDPOINT: &str = "CORONER_TEST_DYNAMODB";

thread_local! {
    /// Is a story told over a table?
    static ON_DYNAMODB: Cell<bool> = const { Cell::new(false) };
}

/// What the binary is told of its store: nothing, or a table of its own where the story is told over one.
pub(crate) fn place(home: &Path) -> Vec<(&'static str, String)> {
    if !ON_DYNAMODB.get() {
        return Vec::new();
    }
    vec![
        ("CORONER_STORE", format!("dynamodb:{}", table(home))),
        ("AWS_ENDPOINT_URL", std::env::var(ENDPOINT).unwrap()),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

fn table(home: &Path) -> String {
    let name = home.file_name().unwrap().to_str().unwrap().trim_start_matches('.');
    format!("cli-{}-{name}", std::process::id())
}

/// The store that the binary has in this home.
pub(crate) async fn store(home: &Home) -> Store {
    let folder = home.path().join(".local/share/coroner");
    if home.has_a_table() {
        let config = emulator(&std::env::var(ENDPOINT).unwrap());
        return Store::open_dynamodb(&config, &table(home.path()), &folder, None).await.unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    Store::open(&format!("sqlite:{}", folder.join("coroner.db").display())).await.unwrap()
}

#[expect(clippy::print_stdout, reason = "a test that can't run says so")]
fn tell(name: &str, story: fn()) {
    if std::env::var(ENDPOINT).is_ok_and(|it| !it.is_empty()) {
        ON_DYNAMODB.set(true);
        story();
        ON_DYNAMODB.set(false);
    } else {
        println!("skipped: on_dynamodb::{name}: {ENDPOINT} is not set: scripts/test starts an emulator");
    }
}

macro_rules! stories {
    ($($module:ident: $($story:ident)+;)+) => {
        $($(#[test] fn $story() {
            tell(stringify!($story), crate::$module::$story);
        })+)+
    };
}

stories! {
    alerts: a_run_that_fails_is_told_by_mail_once a_sender_that_is_killed_leaves_its_message_to_the_next
        webhooks_are_signed_and_slack_is_told_in_its_own_words
        what_can_t_be_delivered_waits_and_is_neither_lost_nor_doubled many_processes_on_one_store_tell_each_failure_once;
    analyze: what_is_saved_is_found_again;
    attempt: a_good_candidate_is_adopted_and_all_is_kept each_failure_of_a_candidate_is_told_apart;
    batch: a_saved_batch_is_in_the_store;
    evolve: it_improves_a_program_and_says_what_failed a_kill_at_any_moment_loses_nothing_and_tests_nothing_twice
        an_interrupt_ends_it_cleanly_and_it_goes_on an_evaluator_that_breaks_stops_it_with_one_report
        a_model_writes_candidates_and_its_useless_replies_are_failures_of_the_provider
        programs_that_were_taken_over_are_committed_and_nothing_else;
    kept: everything_is_kept_and_shown_again every_way_to_end_gets_its_diagnosis
        a_run_whose_coroner_died_is_closed_at_the_next_start a_success_is_compared_with_and_a_repetition_counted
        a_log_longer_than_memory_holds_is_read_back a_model_adds_what_it_knows_to_the_card_and_to_the_store
        who_does_not_wait_for_the_model_has_what_the_rules_say secrets_of_the_command_are_not_kept;
    lessons: advice_tells_what_is_the_candidates_to_change stats_say_what_was_lost
        a_candidate_is_shown_with_where_it_came_from plain_runs_teach_too;
    model: what_was_answered_once_is_not_asked_again;
    rules: a_rule_is_tried_on_what_is_stored a_rule_that_is_switched_off_speaks_no_more;
    run: the_commands_status_is_ours;
}
