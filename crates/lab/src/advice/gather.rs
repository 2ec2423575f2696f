//! Asks the store what advice is made of.

use coroner_store::{Error, ExperimentId, Store, TopOrder, TopQuery, Within};

use super::{Ancestor, Cause, Known, Parent};

/// So many steps of descent are looked at for a failure that comes back.
const STEPS: usize = 10;

impl Known {
    /// What the store knows of failures in this window, and of the lineage of what the next candidate is made from.
    /// `top`: so many causes. The policy and the window's name are the caller's to add.
    pub async fn gather(
        store: &Store,
        within: Within,
        top: usize,
        parent: Option<&ExperimentId>,
    ) -> Result<Self, Error> {
        let query = TopQuery {
            within,
            origin: Some(coroner_diagnosis::Origin::Candidate),
            failures_only: true,
            order: TopOrder::Count,
            limit: top,
        };
        let causes = store.top_signatures(query).await?.into_iter().map(Cause::from).collect();
        let mut known = Self { causes, ..Self::default() };
        if let Some(id) = parent {
            known.descend(store, id).await?;
        }
        Ok(known)
    }

    async fn descend(&mut self, store: &Store, parent: &ExperimentId) -> Result<(), Error> {
        let experiment = store.get(&parent.to_string()).await?;
        if experiment.listed.status.failed() {
            self.parent = experiment.diagnosis.map(|diagnosis| Parent { number: parent.number(), diagnosis });
        }
        let Some(record) = store.candidate(parent).await? else { return Ok(()) };
        let all = store.candidates(record.candidate.run).await?;
        let mut next = Some(record.candidate);
        for _ in 0..STEPS {
            let Some(it) = next else { break };
            self.lineage.extend(Ancestor::of(&it));
            let from = it.repair_of.or_else(|| it.parents.into_iter().next());
            next = from.and_then(|from| all.iter().find(|other| other.id == from).cloned());
        }
        self.earlier = all.iter().filter_map(Ancestor::of).collect();
        Ok(())
    }
}
