//! The programs that the search goes on from: the best, each once, and enough of the others to stay inventive.

use std::sync::Arc;

use fastrand::Rng;

use crate::propose::Member;

/// How many are kept.
pub(super) const SIZE: usize = 32;
/// How many of the best are as likely as all others together.
const ELITE: usize = 3;

/// Good programs, the best first.
#[derive(Debug, Default)]
pub(super) struct Population {
    members: Vec<Arc<Member>>,
}

impl Population {
    pub(super) fn best(&self) -> Option<&Arc<Member>> {
        self.members.first()
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter()
    }

    pub(super) fn find(&self, number: u64) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.number == number)
    }

    /// Of programs that measure the same the newer one stays if it is not much longer: so the search may drift, but
    /// does not grow.
    pub(super) fn add(&mut self, member: Member) {
        let member = Arc::new(member);
        let twin = self.members.iter().position(|m| m.rank == member.rank && m.metrics == member.metrics);
        if let Some(at) = twin {
            if member.code.len() <= self.members[at].code.len() + 16 {
                self.members[at] = member;
            }
            return;
        }
        let at = self.members.partition_point(|m| m.rank > member.rank);
        self.members.insert(at, member);
        self.members.truncate(SIZE);
    }

    /// One to go on from: often one of the best, otherwise the best of three.
    pub(super) fn choose(&self, rng: &mut Rng) -> Option<&Arc<Member>> {
        if self.members.is_empty() {
            return None;
        }
        let all = self.members.len();
        let at = if rng.bool() {
            rng.usize(..all.min(ELITE))
        } else {
            (0..3).map(|_| rng.usize(..all)).min().unwrap_or(0)
        };
        self.members.get(at)
    }

    /// Others that may give parts, in another order each time but the best among them.
    pub(super) fn others(&self, than: u64, count: usize, rng: &mut Rng) -> Vec<Arc<Member>> {
        let mut others: Vec<Arc<Member>> =
            self.members.iter().filter(|m| m.number != than).cloned().collect();
        if others.len() > count {
            rng.shuffle(&mut others[count / 2..]);
            others.truncate(count);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn member(number: u64, rank: f64, code: &str) -> Member {
        let metrics = BTreeMap::from([("score".to_owned(), rank)]);
        Member { number, code: code.to_owned(), metrics, rank, remark: None }
    }

    #[test]
    fn the_best_are_kept_each_once() {
        let mut population = Population::default();
        for number in 0..100 {
            population.add(member(number, (number % 50) as f64, "code"));
        }
        assert_eq!(population.iter().count(), SIZE);
        assert_eq!(population.best().map(|m| m.number), Some(99), "the newer of two alike");
        population.add(member(200, 49.0, &"much longer".repeat(20)));
        assert_eq!(population.best().map(|m| m.number), Some(99));
        let mut rng = Rng::with_seed(1);
        let mut chosen: Vec<u64> =
            (0..300).filter_map(|_| population.choose(&mut rng)).map(|m| m.number).collect();
        assert!(chosen.iter().filter(|n| **n == 99).count() > 40);
        chosen.sort_unstable();
        chosen.dedup();
        assert!(chosen.len() > SIZE / 2, "{chosen:?}");
        let others = population.others(99, 8, &mut rng);
        assert!(others.len() == 8 && others[0].number == 98 && others.iter().all(|m| m.number != 99));
    }
}
