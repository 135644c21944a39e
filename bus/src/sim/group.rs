//! The group: who owns which partition, and what each member is still to hear about it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chance::Chance;
use crate::{Event, TopicPartition};

/// Where a member is in a partition that it owns, or believes to own.
#[derive(Default)]
pub(super) struct Flow {
    /// None before a seek.
    pub(super) offset: Option<u64>,
    pub(super) paused: bool,
}

#[derive(Default)]
pub(super) struct Member {
    name: String,
    /// What it subscribed to.
    places: BTreeSet<TopicPartition>,
    /// What it has heard to be its own, and not heard to be lost.
    pub(super) owned: BTreeMap<TopicPartition, Flow>,
    /// What it will hear, each after so many polls.
    pub(super) events: VecDeque<(usize, Event)>,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<u64, Member>,
    /// The owner as the coordinator sees it.
    owners: BTreeMap<TopicPartition, u64>,
    /// Partitions whose next owner waits until the last one has heard.
    handovers: BTreeMap<TopicPartition, u64>,
    ids: u64,
}

impl Group {
    pub(super) fn join(&mut self, name: &str, places: Vec<TopicPartition>) -> u64 {
        self.ids += 1;
        let places = places.into_iter().collect();
        self.members.insert(self.ids, Member { name: name.to_owned(), places, ..Member::default() });
        self.balance();
        // What others have to give up first comes later; the first answer comes at once, as Kafka's does.
        if let Some(member) = self.members.get_mut(&self.ids)
            && member.events.is_empty()
        {
            member.events.push_back((0, Event::Assigned(Vec::new())));
        }
        self.ids
    }

    pub(super) fn leave(&mut self, id: u64) {
        let Some(gone) = self.members.remove(&id) else { return };
        let unheard = gone.events.into_iter().filter_map(|(_, event)| match event {
            Event::Revoked(places) => Some(places),
            _ => None,
        });
        for place in unheard.flatten() {
            if let Some(next) = self.handovers.remove(&place) {
                self.emit_assigned(place, next);
            }
        }
        self.owners.retain(|_, owner| *owner != id);
        self.balance();
    }

    /// As Kafka's sticky assignor: a partition stays where it is unless its owner has two more than another member that wants it, and
    /// goes to the one that has fewest. Between equals the name decides: the same members in the same order give the same assignment.
    fn balance(&mut self) {
        let wanted: BTreeSet<_> = self.members.values().flat_map(|member| member.places.iter().cloned()).collect();
        for place in &wanted {
            if !self.owners.contains_key(place) {
                let (id, _) = self.least_loaded(place);
                self.give(place.clone(), id);
            }
        }
        // Each move makes the shares of two members more even, so there is a last one.
        while let Some((place, id)) = wanted.iter().rev().find_map(|place| self.better_owner(place).map(|id| (place.clone(), id)))
        {
            self.give(place, id);
        }
    }

    /// A member that has at least two partitions less than the owner.
    fn better_owner(&self, place: &TopicPartition) -> Option<u64> {
        let (id, load) = self.least_loaded(place);
        (self.load(*self.owners.get(place)?) >= load + 2).then_some(id)
    }

    /// Who wants it and has fewest partitions, and how many these are.
    fn least_loaded(&self, place: &TopicPartition) -> (u64, usize) {
        let loads = self.candidates(place).into_iter().map(|id| (id, self.load(id)));
        loads.min_by_key(|(_, load)| *load).expect("invariant: a partition is wanted by somebody")
    }

    fn load(&self, id: u64) -> usize {
        self.owners.values().filter(|owner| **owner == id).count()
    }

    fn candidates(&self, place: &TopicPartition) -> Vec<u64> {
        let wanting = self.members.iter().filter(|(_, member)| member.places.contains(place));
        let mut named: Vec<_> = wanting.map(|(id, member)| (&member.name, *id)).collect();
        named.sort();
        named.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn shuffle(&mut self, chance: &mut Chance) {
        for place in self.owners.keys().cloned().collect::<Vec<_>>() {
            let candidates = self.candidates(&place);
            if !candidates.is_empty() {
                self.give(place, candidates[chance.below(candidates.len())]);
            }
        }
    }

    /// The coordinator decides; the owner so far hears it first.
    fn give(&mut self, place: TopicPartition, id: u64) {
        let before = self.owners.insert(place.clone(), id);
        if before == Some(id) {
            return;
        }
        if let Some(next) = self.handovers.get_mut(&place) {
            // The last owner has not heard yet; only who comes next has changed.
            *next = id;
            return;
        }
        match before.and_then(|before| self.members.get_mut(&before)) {
            Some(owner) => {
                owner.events.push_back((0, Event::Revoked(vec![place.clone()])));
                self.handovers.insert(place, id);
            }
            None => self.emit_assigned(place, id),
        }
    }

    fn emit_assigned(&mut self, place: TopicPartition, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.events.push_back((0, Event::Assigned(vec![place])));
        }
    }

    pub(super) fn usurp(&mut self, place: &TopicPartition, name: &str, late: usize) -> bool {
        let Some(id) = self.members.iter().find(|(_, member)| member.name == name).map(|(id, _)| *id) else { return false };
        if self.handovers.contains_key(place) {
            self.give(place.clone(), id);
            return true;
        }
        let before = self.owners.insert(place.clone(), id);
        if before == Some(id) {
            return true;
        }
        if let Some(owner) = before.and_then(|before| self.members.get_mut(&before)) {
            owner.events.push_back((late, Event::Revoked(vec![place.clone()])));
        }
        self.emit_assigned(place.clone(), id);
        true
    }

    /// The next event of a member whose time has come, already acted on. Counts as one poll.
    pub(super) fn hear(&mut self, id: u64) -> Option<Event> {
        let member = self.members.get_mut(&id)?;
        let (wait, _) = member.events.front_mut()?;
        if *wait > 0 {
            *wait -= 1;
            return None;
        }
        let (_, event) = member.events.pop_front()?;
        match &event {
            Event::Assigned(places) => places.iter().for_each(|place| {
                member.owned.insert(place.clone(), Flow::default());
            }),
            Event::Revoked(places) => {
                places.iter().for_each(|place| {
                    member.owned.remove(place);
                });
                for place in places {
                    if let Some(next) = self.handovers.remove(place) {
                        self.emit_assigned(place.clone(), next);
                    }
                }
            }
            Event::Records(_) | Event::OutOfRange { .. } => {}
        }
        Some(event)
    }
}
