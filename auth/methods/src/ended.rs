//! Ids of cookies that do not count any more, for as long as they could be shown. Bounded: what makes room is said below.

use std::collections::{HashMap, VecDeque};

/// Sessions that were ended and could still be shown: a megabyte or two.
const ENDED_MAX: usize = 20_000;
/// … of one user, so that nobody fills it alone; the oldest make room.
const ENDED_OF_USER_MAX: usize = 100;
/// Sign-ins under way that were finished. The oldest make room: whoever has no account here can begin many.
const FINISHED_MAX: usize = 4096;

/// An id, and until when it could be shown, in Unix seconds.
type Entry = (String, u64);

/// Of sessions, by their user.
#[derive(Default)]
pub(crate) struct EndedSessions {
    by_user: HashMap<String, VecDeque<Entry>>,
    /// Of all users.
    len: usize,
}

impl EndedSessions {
    pub fn contains(&self, user: &str, id: &str) -> bool {
        self.by_user.get(user).is_some_and(|own| own.iter().any(|(known, _)| known == id))
    }

    /// `false` where there is no room.
    pub fn insert(&mut self, user: &str, (id, expires): Entry, now: u64) -> bool {
        let has_most = self.by_user.get(user).is_some_and(|own| own.len() >= ENDED_OF_USER_MAX);
        if !has_most && self.len >= ENDED_MAX {
            self.forget_expired(now);
            if self.len >= ENDED_MAX {
                return false;
            }
        }
        let own = self.by_user.entry(user.to_owned()).or_default();
        if has_most && own.pop_front().is_some() {
            self.len -= 1;
        }
        own.push_back((id, expires));
        self.len += 1;
        true
    }

    fn forget_expired(&mut self, now: u64) {
        self.by_user.retain(|_, own| {
            own.retain(|(_, expires)| *expires > now);
            !own.is_empty()
        });
        self.len = self.by_user.values().map(VecDeque::len).sum();
    }
}

/// Of sign-ins, in the order in which they were finished.
#[derive(Default)]
pub(crate) struct FinishedSignIns(VecDeque<Entry>);

impl FinishedSignIns {
    /// `false` where it was finished before.
    pub fn insert(&mut self, (id, expires): Entry, now: u64) -> bool {
        self.0.retain(|(_, expires)| *expires > now);
        if self.0.iter().any(|(known, _)| *known == id) {
            return false;
        }
        if self.0.len() >= FINISHED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, expires));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_a_part_of_the_room_and_all_together_no_more_than_there_is() {
        let mut ended = EndedSessions::default();
        for number in 0..=ENDED_OF_USER_MAX {
            assert!(ended.insert("alice", (number.to_string(), 100), 0));
        }
        assert_eq!(
            (ended.contains("alice", "0"), ended.contains("alice", "1"), ended.contains("bob", "1")),
            (false, true, false)
        );
        let mut user = 0;
        while ended.insert(&format!("user {user}"), ("1".into(), 100), 0) {
            user += 1;
        }
        assert_eq!(user, ENDED_MAX - ENDED_OF_USER_MAX);
        assert!(ended.insert("alice", ("more".into(), 100), 0) && ended.contains("alice", "more"));
        assert!(ended.insert("bob", ("1".into(), 200), 100) && ended.contains("bob", "1"));
        assert_eq!(ended.len, 1, "those that are over are forgotten");
    }

    #[test]
    fn a_sign_in_is_finished_once_and_the_oldest_is_forgotten() {
        let mut finished = FinishedSignIns::default();
        assert!(finished.insert(("first".into(), 100), 0));
        assert!(!finished.insert(("first".into(), 100), 99));
        for number in 0..FINISHED_MAX {
            assert!(finished.insert((number.to_string(), 100), 0));
        }
        assert!(finished.insert(("first".into(), 100), 0) && finished.0.len() == FINISHED_MAX);
    }
}
