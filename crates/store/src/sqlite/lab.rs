//! What the lab asks of SQLite, handed to the writer or to a reader.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Sqlite, candidates, costs, runs};
use crate::backend::LabBackend;
use crate::{
    Candidate, CandidateBegun, CandidateRecord, Costs, Error, ExperimentId, NewCandidate, NewExperiment,
    NewRun, Owner, PolicyRefusals, Run, RunEnd, RunId, SignatureCost, TopQuery, Within,
};

#[async_trait]
impl LabBackend for Sqlite {
    async fn start_run(&self, new: NewRun) -> Result<RunId, Error> {
        self.write(move |conn| runs::start(conn, &new)).await
    }

    async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error> {
        self.write(move |conn| runs::resume(conn, id, &owner, by_force)).await
    }

    async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error> {
        self.write(move |conn| runs::end(conn, id, &end)).await
    }

    async fn run(&self, id: RunId) -> Result<Run, Error> {
        self.read(move |conn| runs::find(conn, id)).await
    }

    async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error> {
        let task = task.map(str::to_owned);
        self.read(move |conn| runs::list(conn, task.as_deref(), limit)).await
    }

    async fn begin_candidate(
        &self,
        new: NewExperiment,
        mut candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error> {
        let code = std::mem::take(&mut candidate.code);
        let id = || new.id.clone().unwrap_or_else(|| candidate.code_hash.clone());
        let code = candidates::pack(&code).map_err(|e| Error::Code { id: id(), detail: e.to_string() })?;
        self.write(move |conn| candidates::begin(conn, new, &candidate, &code)).await
    }

    async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error> {
        let ids = ids.to_vec();
        self.write(move |conn| candidates::mark(conn, &ids)).await
    }

    async fn candidates(&self, run: RunId, only_to_rerun: bool) -> Result<Vec<Candidate>, Error> {
        self.read(move |conn| candidates::of_run(conn, run, only_to_rerun)).await
    }

    async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error> {
        let id = id.clone();
        self.read(move |conn| candidates::record(conn, &id)).await
    }

    async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error> {
        let id = id.clone();
        self.read(move |conn| candidates::code(conn, &id)).await
    }

    async fn costs(&self, within: Within) -> Result<Costs, Error> {
        self.read(move |conn| costs::costs(conn, &within)).await
    }

    async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error> {
        self.read(move |conn| costs::top(conn, &query)).await
    }

    async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error> {
        self.read(move |conn| costs::refusals(conn, since)).await
    }
}
