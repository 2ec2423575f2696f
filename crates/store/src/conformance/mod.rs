//! What every kind of store must do, as tests that know nothing of how it does it. They run against SQLite and against
//! the simplest thing that can pass them (`memory`), which keeps them honest; the next backend joins the table below.

mod alerts;
pub(crate) mod candidates;
mod copying;
mod costs;
mod desk;
#[cfg(feature = "aws")]
pub(crate) mod dynamo;
#[cfg(feature = "aws")]
mod dynamo_costs;
#[cfg(feature = "aws")]
mod dynamo_objects;
mod found;
pub(crate) mod given;
mod keeping;
mod knowledge;
mod lifecycle;
mod listing;
mod memory;
pub(crate) mod plans;
mod recount;

use std::sync::Arc;

use tempfile::TempDir;

use crate::Store;
use crate::logs::LogFolder;

/// An empty store, and the folder that goes with it.
async fn sqlite() -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("test.db").display());
    (Store::open(&url).await.unwrap(), folder)
}

async fn memory() -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let logs = LogFolder::beside(&folder.path().join("memory"));
    let backend = Arc::new(memory::Memory::new(logs.clone()));
    (Store::over(backend, logs), folder)
}

macro_rules! suite {
    ($($module:ident: $($case:ident)+;)+) => {
        mod on_sqlite {
            $($(#[tokio::test] async fn $case() {
                let (store, _folder) = super::sqlite().await;
                super::$module::$case(&store).await;
                store.close().await.unwrap();
            })+)+
        }

        mod on_memory {
            $($(#[tokio::test] async fn $case() {
                let (store, _folder) = super::memory().await;
                super::$module::$case(&store).await;
            })+)+
        }

        #[cfg(feature = "aws")]
        mod on_dynamodb {
            $($(#[tokio::test] async fn $case() {
                if let Some((store, _folder)) = super::dynamo::store(stringify!($case)).await {
                    super::$module::$case(&store).await;
                }
            })+)+
        }

        /// All of it, one after the other.
        async fn everything_on_sqlite() {
            $($(
                let (store, _folder) = sqlite().await;
                $module::$case(&store).await;
                store.close().await.unwrap();
            )+)+
        }
    };
}

suite! {
    lifecycle:
        what_has_begun_runs a_start_that_is_said_again_is_one every_end_is_kept it_ends_once what_was_lost_can_still_end
        the_same_id_is_another_attempt found_by_what_people_type a_diagnosis_can_be_replaced
        saving_twice_counts_once saved_at_the_same_moment_are_one saved_are_all_or_none recorded_are_all_or_none a_dropped_guard_closes;
    listing:
        pages_hold_each_once filters_agree_with_reading_everything words_are_found cursors_are_checked
        json_is_the_contracts;
    knowledge:
        signatures_are_counted what_helped_is_known similar_ones_come_best_first the_last_success_is_the_baseline
        counts_follow_time replies_are_remembered spending_adds_up;
    keeping:
        logs_come_back_as_they_went orphans_keep_what_they_printed clean_up_by_age_spares_what_runs
        clean_up_of_logs_takes_the_oldest clean_up_keeps_baselines clean_up_forgets_replies many_at_once_lose_nothing;
    candidates:
        runs_are_kept_and_resumed a_code_is_tested_once a_candidate_is_kept_whole codes_come_back_untouched
        what_is_lost_is_tested_again eight_at_once_begin_each_code_once clean_up_takes_candidates_too;
    costs:
        what_was_lost_adds_up the_worst_come_first what_mended_a_candidate_is_known rules_that_refuse_are_counted;
    alerts:
        failures_are_noticed_once_alerts_are_expected a_loop_that_is_stopped_is_noticed a_round_is_settled_by_one
        eight_at_once_look_at_each_failure_once a_message_is_one_senders_at_a_time what_was_removed_costs_nothing
        a_step_that_is_too_large_says_so_and_changes_nothing;
}
