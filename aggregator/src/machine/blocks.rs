//! Which of the manifest's blocks are open, could not be opened, or cannot be merged.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use weir_blocks::StoreError;
use weir_blocks::manifest::{BlockEntry, Manifest, Opened};

use super::event::Missing;
use crate::AggregatorError;

/// By id.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: BTreeSet<String>,
    /// Blocks that could not be opened the last time, and why not.
    failed: BTreeMap<String, String>,
    /// How the store failed the last time, and at which block; nothing is known of those that were not tried after it.
    stopped: Option<(String, String)>,
    /// They cannot be read, or not be rewritten: they are left alone until the next owner.
    unmergeable: BTreeSet<String>,
    /// They do not fit together with their neighbours, or a merge with them failed. Merges pass over them until the next owner; rewrites do not.
    full: BTreeSet<String>,
}

impl Blocks {
    /// Takes note of a try at opening. What was replaced meanwhile is of no interest.
    pub fn opened(&mut self, manifest: &Manifest, tried: Opened) {
        let named: HashSet<&str> = manifest.blocks.iter().map(|entry| entry.id.as_str()).collect();
        self.open.extend(tried.opened.into_iter().filter(|id| named.contains(id.as_str())));
        self.failed = tried.failed.into_iter().filter(|(id, _)| named.contains(id.as_str())).collect();
        self.stopped = tried.stopped;
    }

    /// Blocks that this owner has written, and opened before anybody could be told of them.
    pub fn written(&mut self, entries: &[BlockEntry]) {
        self.open.extend(entries.iter().filter(|entry| !entry.quarantine).map(|entry| entry.id.clone()));
    }

    /// Forgets what the manifest names no more.
    pub fn retain(&mut self, manifest: &Manifest) {
        let named: HashSet<&str> = manifest.blocks.iter().map(|entry| entry.id.as_str()).collect();
        self.open.retain(|id| named.contains(id.as_str()));
        self.failed.retain(|id, _| named.contains(id.as_str()));
        self.unmergeable.retain(|id| named.contains(id.as_str()));
        self.full.retain(|id| named.contains(id.as_str()));
    }

    /// Blocks of a version that are not open; no engine opens a quarantine.
    pub fn closed<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = &'a BlockEntry> {
        manifest.blocks.iter().filter(|entry| !entry.quarantine && !self.open.contains(&entry.id))
    }

    /// What of a version is not open.
    pub fn missing(&self, manifest: &Manifest) -> Missing {
        let mut missing = Missing::default();
        for entry in self.closed(manifest) {
            match (self.failed.get(&entry.id), &self.stopped) {
                (Some(why), _) => missing.failed.push(why.clone()),
                (None, Some((id, error))) if *id == entry.id => missing.stopped = Some(error.clone()),
                (None, _) => missing.opening += 1,
            }
        }
        missing
    }

    pub fn is_open(&self, entry: &BlockEntry) -> bool {
        self.open.contains(&entry.id)
    }

    pub fn can_merge(&self, entry: &BlockEntry) -> bool {
        self.can_rewrite(entry) && !self.full.contains(&entry.id)
    }

    pub fn can_rewrite(&self, entry: &BlockEntry) -> bool {
        !entry.quarantine && self.open.contains(&entry.id) && !self.unmergeable.contains(&entry.id)
    }

    /// A run does not fit into fewer blocks than it has: the largest, the first of equal ones, is full, and the others are free to join
    /// their other neighbours.
    pub fn do_not_fit(&mut self, run: &[BlockEntry]) {
        let largest = run.iter().rev().max_by_key(|entry| entry.size);
        self.full.extend(largest.map(|entry| entry.id.clone()));
    }

    /// A merge of several failed: when that says something of its blocks, the one that the error names is left as it is. Where it names none
    /// it may be of what they are together: each is rewritten as before, and merges go on with fewer of them.
    pub fn failed_to_merge(&mut self, run: &[BlockEntry], error: &AggregatorError) {
        let is_named = |id: &&String| matches!(error, AggregatorError::Store(StoreError::Corrupt { path, .. }) if path.ends_with(id.as_str()));
        if !error.is_of_the_blocks() {
            return;
        }
        match run.iter().map(|entry| &entry.id).find(is_named) {
            Some(id) => drop(self.unmergeable.insert(id.clone())),
            None => self.do_not_fit(run),
        }
    }

    /// A block could not be rewritten: when that says something of it, it is left as it is.
    pub fn failed_to_rewrite(&mut self, entry: &BlockEntry, error: &AggregatorError) {
        if error.is_of_the_blocks() {
            self.unmergeable.insert(entry.id.clone());
        }
    }
}
