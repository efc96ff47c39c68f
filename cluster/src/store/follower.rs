//! What a follower tells its consumer next. Pure: the shells bring listings, changes and failures.
//!
//! Each connection begins with a contact: the store's birthmark and its revision, read in one go from a quorum. The
//! mark and the revision together tell a store that was away (resume) from one that lost its past (list again).

use std::collections::VecDeque;

use super::{Entry, Follow, Listing, Revision};

/// What the shell does next on a connection that has made contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Read everything under the prefix.
    List,
    /// Watch what comes after this revision.
    Watch {
        /// The last revision that the consumer knows of.
        after: Revision,
    },
}

/// The follower of one prefix.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The store's mark at the last contact.
    mark: Option<String>,
    /// The highest revision seen, by listing, change or contact.
    seen: Revision,
    /// Where a watch may resume; `None` when the next step is a listing.
    resume: Option<Revision>,
    wiped: bool,
    away: bool,
    out: VecDeque<Follow>,
}

impl Follower {
    /// The store answered.
    pub(super) fn handle_contact(&mut self, mark: &str, revision: Revision) {
        if std::mem::take(&mut self.away) {
            self.out.push_back(Follow::Back);
        }
        let other = self.mark.as_deref().is_some_and(|known| known != mark);
        if other || revision < self.seen {
            self.wiped = true;
            self.resume = None;
        }
        self.mark = Some(mark.to_owned());
        self.seen = revision;
    }

    /// What the shell does after contact.
    pub(super) fn next(&self) -> Next {
        match self.resume {
            None => Next::List,
            Some(after) => Next::Watch { after },
        }
    }

    /// Everything under the prefix was read.
    pub(super) fn handle_listing(&mut self, listing: Listing) {
        let wiped = std::mem::take(&mut self.wiped) || listing.revision < self.seen;
        self.seen = listing.revision;
        self.resume = Some(listing.revision);
        self.out.push_back(Follow::Snapshot { listing, wiped });
    }

    /// A key was written.
    pub(super) fn handle_put(&mut self, entry: Entry) {
        self.advance(entry.revision);
        self.out.push_back(Follow::Put(entry));
    }

    /// A key was removed.
    pub(super) fn handle_delete(&mut self, key: String, revision: Revision) {
        self.advance(revision);
        self.out.push_back(Follow::Delete { key, revision });
    }

    /// All changes up to this revision have been handed over.
    pub(super) fn handle_progress(&mut self, revision: Revision) {
        if self.resume.is_some() {
            self.advance(revision);
        }
    }

    /// The history after the resume point is gone; list again.
    pub(super) fn handle_compacted(&mut self) {
        self.resume = None;
    }

    /// The connection is lost, or could not be made.
    pub(super) fn handle_failure(&mut self) {
        if !std::mem::replace(&mut self.away, true) {
            self.out.push_back(Follow::Away);
        }
    }

    /// What to tell the consumer; drain after each call above.
    pub(super) fn poll_output(&mut self) -> Option<Follow> {
        self.out.pop_front()
    }

    fn advance(&mut self, revision: Revision) {
        // One revision may bring several changes, in one piece: the resume point moves with the first of them,
        // and the shell hands all changes of a response over before it can fail.
        self.seen = self.seen.max(revision);
        self.resume = Some(self.resume.unwrap_or_default().max(revision));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(revision: u64) -> Listing {
        Listing { entries: Vec::new(), revision: Revision(revision) }
    }

    fn put(revision: u64) -> Entry {
        Entry { key: "k".into(), value: "v".into(), revision: Revision(revision), lease: None }
    }

    fn drain(f: &mut Follower) -> Vec<Follow> {
        std::iter::from_fn(|| f.poll_output()).collect()
    }

    fn at(revision: u64) -> Follower {
        let mut f = Follower::default();
        f.handle_contact("m", Revision(revision));
        assert_eq!(f.next(), Next::List);
        f.handle_listing(listing(revision));
        assert_eq!(drain(&mut f), [Follow::Snapshot { listing: listing(revision), wiped: false }]);
        f
    }

    #[test]
    fn resumes_after_the_last_change_when_the_store_comes_back() {
        let mut f = at(5);
        f.handle_put(put(7));
        f.handle_failure();
        f.handle_failure();
        assert_eq!(drain(&mut f), [Follow::Put(put(7)), Follow::Away]);
        f.handle_contact("m", Revision(9));
        assert_eq!(drain(&mut f), [Follow::Back]);
        assert_eq!(f.next(), Next::Watch { after: Revision(7) });
    }

    #[test]
    fn a_lower_revision_means_a_wiped_store() {
        let mut f = at(5);
        f.handle_failure();
        f.handle_contact("m", Revision(4));
        assert_eq!(f.next(), Next::List);
        f.handle_listing(listing(4));
        assert_eq!(
            drain(&mut f),
            [Follow::Away, Follow::Back, Follow::Snapshot { listing: listing(4), wiped: true }]
        );
        f.handle_compacted();
        f.handle_listing(listing(6));
        assert_eq!(drain(&mut f), [Follow::Snapshot { listing: listing(6), wiped: false }], "told once");
    }

    #[test]
    fn another_mark_means_a_wiped_store_even_when_its_revision_has_caught_up() {
        let mut f = at(5);
        f.handle_failure();
        f.handle_contact("other", Revision(50));
        assert_eq!(f.next(), Next::List);
        f.handle_listing(listing(50));
        assert_eq!(drain(&mut f).pop(), Some(Follow::Snapshot { listing: listing(50), wiped: true }));
    }

    #[test]
    fn a_wipe_that_is_interrupted_by_a_failure_is_still_told() {
        let mut f = at(5);
        f.handle_contact("other", Revision(1));
        f.handle_failure();
        f.handle_contact("other", Revision(2));
        assert_eq!(f.next(), Next::List);
        f.handle_listing(listing(2));
        assert_eq!(drain(&mut f).pop(), Some(Follow::Snapshot { listing: listing(2), wiped: true }));
    }

    #[test]
    fn progress_moves_the_resume_point_of_a_quiet_prefix() {
        let mut f = at(5);
        f.handle_progress(Revision(90));
        f.handle_progress(Revision(80));
        assert_eq!(f.next(), Next::Watch { after: Revision(90) });
        f.handle_compacted();
        f.handle_progress(Revision(95));
        assert_eq!(f.next(), Next::List, "progress does not hide a compaction");
    }

    #[test]
    fn compaction_lists_again_without_calling_it_a_wipe() {
        let mut f = at(5);
        f.handle_compacted();
        assert_eq!(f.next(), Next::List);
        f.handle_listing(listing(8));
        assert_eq!(drain(&mut f), [Follow::Snapshot { listing: listing(8), wiped: false }]);
    }
}
