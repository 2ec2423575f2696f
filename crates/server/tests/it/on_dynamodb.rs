//! The desk's stories once more, over a table of DynamoDB: in an emulator that `scripts/test` starts.

use std::cell::Cell;
use std::path::Path;

use coroner_store::Store;
use coroner_store::dynamodb::{emulator, make_table};

/// Where the emulator listens, on this machine only.
const ENDPOINT: &str = "CORONER_TEST_DYNAMODB";

thread_local! {
    /// Is a story told over a table?
    static ON_DYNAMODB: Cell<bool> = const { Cell::new(false) };
}

/// A store of its own: a file in this folder, or a table where the story is told over one.
pub(crate) async fn or_in(folder: &Path) -> Store {
    if !ON_DYNAMODB.get() {
        return Store::open(&format!("sqlite:{}", folder.join("desk.db").display())).await.unwrap();
    }
    let config = emulator(&std::env::var(ENDPOINT).unwrap());
    let name = folder.file_name().unwrap().to_str().unwrap().trim_start_matches('.');
    let table = format!("desk-{}-{name}", std::process::id());
    make_table(&config, &table).await.unwrap();
    Store::open_dynamodb(&config, &table, folder, None).await.unwrap()
}

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
    admin: experiments_have_the_contracts_shape_and_nothing_else filters_cursor_and_search
        a_list_is_sorted_as_asked_and_its_page_says_how;
    alerts: what_is_reported_is_told_and_the_desk_says_so several_that_look_and_send_tell_each_failure_once
        a_test_is_sent_by_programs_and_by_the_page however_much_there_is_to_tell_it_is_told_in_one_look;
    auth: each_may_do_what_its_scope_says the_originals_login_works_with_and_without_a_second_factor
        a_browser_logs_in_by_a_form_and_other_sites_can_do_nothing;
    bad_input: an_id_with_another_content_is_another_attempt_and_loses_nothing
        many_at_once_with_one_id_lose_nothing;
    dashboard: from_the_table_to_the_evidence a_live_failure_arrives_and_is_corrected
        whoever_signs_in_comes_where_they_wanted by_keyboard_alone markup_is_shown_and_never_run
        the_heads_of_the_table_sort_it a_hundred_thousand_lines_are_scrolled
        what_is_wrong_in_a_form_is_said_where_it_was_typed;
    forms: people_are_added_changed_and_switched_off a_token_is_told_once
        groups_are_corrected_looked_at_again_joined_and_split a_rule_is_switched_off_and_on
        an_answer_that_is_kept_is_for_who_asked;
    fuzz: what_is_described_is_what_is_answered;
    groups: what_people_joined_is_listed_in_whole a_group_is_shown_decided_about_and_opens_again
        a_correction_counts_at_once_later_and_before_and_is_taken_back;
    live: what_happens_is_seen_whoever_writes_it;
    page: the_table_shows_what_failed_and_why a_log_opens_at_the_cause;
    report: a_failure_is_reported_once_and_read_back a_log_may_be_the_body_packed_or_not
        a_run_starts_lives_and_ends who_goes_before_the_answer_and_says_it_again_has_said_it_once
        what_is_kept_no_longer_goes_by_itself
        the_code_of_a_failure_is_kept_without_secrets_and_its_failing_lines_are_marked
        everything_is_exported_and_nothing_becomes_syntax what_is_measured_is_told;
}
