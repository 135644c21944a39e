//! What of the log files is acknowledged. One small file of JSON lines, replaced as a whole: written beside, synced,
//! renamed, the directory synced. Format: `docs/formats/checkpoint.md`.
//!
//! Losing it loses nothing: everything is read again, and the aggregator drops what it has, but for files that may have been
//! cut in place ([`super::chain`]): their lines come twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::STREAMS;
use super::assemble::Snapshot;
use super::identity::{FileId, Fingerprint};
use crate::error::CollectorError;
use crate::private;

const VERSION: u32 = 1;

/// Of one chain: the generation being read, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Path of the chain's current file.
    pub chain: String,
    /// Of the generation.
    pub epoch: u64,
    /// Of the generation.
    pub id: FileId,
    /// Of the generation.
    pub fingerprint: Fingerprint,
    /// Where reading begins anew.
    pub restart: u64,
    /// Ends of the streams' last acknowledged lines.
    pub last: [u64; STREAMS],
}

impl Entry {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { restart: self.restart, last: self.last }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    weir_checkpoint: u32,
}

#[derive(Serialize, Deserialize)]
struct Foot {
    crc32c: u32,
}

/// All chains. Shared by the chains' tasks.
pub(crate) struct Checkpoint {
    path: PathBuf,
    /// Entries and whether they differ from the file.
    state: Mutex<(BTreeMap<String, Entry>, bool)>,
    /// Held while the file is written; whoever waited finds its entry written by the one before, or writes it.
    writing: tokio::sync::Mutex<()>,
}

impl Checkpoint {
    /// Reads the file; the reason when it is there and cannot be used (it counts as empty then).
    pub fn open(path: PathBuf) -> (Self, Option<String>) {
        let (entries, wrong) = match fs::read(&path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(entries) => (entries, None),
                Err(reason) => (BTreeMap::new(), Some(reason)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        (Self { path, state: Mutex::new((entries, false)), writing: tokio::sync::Mutex::default() }, wrong)
    }

    /// Whether nothing is known of any chain.
    pub fn is_empty(&self) -> bool {
        self.state.lock().0.is_empty()
    }

    pub fn get(&self, chain: &str) -> Option<Entry> {
        self.state.lock().0.get(chain).cloned()
    }

    pub fn set(&self, entry: Entry) {
        let mut state = self.state.lock();
        state.0.insert(entry.chain.clone(), entry);
        state.1 = true;
    }

    /// Moves a chain on within a generation; nothing when it has come to another one since.
    pub fn advance(&self, chain: &str, epoch: u64, to: Snapshot, fingerprint: Fingerprint) {
        let mut state = self.state.lock();
        if let Some(entry) = state.0.get_mut(chain).filter(|entry| entry.epoch == epoch) {
            (entry.restart, entry.last, entry.fingerprint) = (to.restart, to.last, fingerprint);
            state.1 = true;
        }
    }

    pub fn remove(&self, chain: &str) {
        let mut state = self.state.lock();
        state.1 |= state.0.remove(chain).is_some();
    }

    /// Durable when it answers: everything set before the call.
    pub async fn save(&self) -> Result<(), CollectorError> {
        let _writing = self.writing.lock().await;
        let bytes = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.1) {
                return Ok(());
            }
            encode(state.0.values())
        };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || private::replace(&path, &path.with_extension("new"), &bytes)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|source| {
            self.state.lock().1 = true;
            CollectorError::File { operation: "write", path: self.path.clone(), source }
        })
    }
}

pub(super) fn encode<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut line = |value: serde_json::Result<Vec<u8>>| {
        bytes.extend(value.expect("invariant: plain data is JSON"));
        bytes.push(b'\n');
    };
    line(serde_json::to_vec(&Head { weir_checkpoint: VERSION }));
    entries.for_each(|entry| line(serde_json::to_vec(entry)));
    let foot = Foot { crc32c: crc32c::crc32c(&bytes) };
    bytes.extend(serde_json::to_vec(&foot).expect("invariant: plain data is JSON"));
    bytes.push(b'\n');
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let body = text.trim_end_matches('\n');
    let (body, foot) = body.rsplit_once('\n').ok_or("ends early")?;
    let body = &text[..=body.len()];
    let foot: Foot = serde_json::from_str(foot).map_err(|_| "the last line is no checksum")?;
    let computed = crc32c::crc32c(body.as_bytes());
    if foot.crc32c != computed {
        return Err(format!("checksum mismatch: stored {:08x}, computed {computed:08x}", foot.crc32c));
    }
    let mut lines = body.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|_| "the first line is no version")?;
    if head.weir_checkpoint != VERSION {
        return Err(format!("version {} is not known", head.weir_checkpoint));
    }
    let entry = |line| serde_json::from_str::<Entry>(line).map(|entry| (entry.chain.clone(), entry));
    lines.map(entry).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            chain: "/var/log/a.log".into(),
            epoch: 7,
            id: FileId { inode: 1, born: 2 },
            fingerprint: Fingerprint { bytes: 3, hash: 4 },
            restart: 5,
            last: [6, 8],
        }
    }

    #[test]
    fn the_bytes_never_change() {
        let expected = concat!(
            "{\"weir_checkpoint\":1}\n",
            "{\"chain\":\"/var/log/a.log\",\"epoch\":7,\"id\":{\"inode\":1,\"born\":2},",
            "\"fingerprint\":{\"bytes\":3,\"hash\":4},\"restart\":5,\"last\":[6,8]}\n",
        );
        let bytes = encode([entry()].iter());
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text, format!("{expected}{{\"crc32c\":{}}}\n", crc32c::crc32c(expected.as_bytes())));
        assert_eq!(decode(&bytes).unwrap()["/var/log/a.log"], entry());
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = encode([entry()].iter());
        for i in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {i}");
            assert!(decode(&bytes[..i]).is_err(), "cut at {i}");
        }
    }

    #[tokio::test]
    async fn what_is_saved_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint");
        let (checkpoint, wrong) = Checkpoint::open(path.clone());
        assert_eq!(wrong, None);
        checkpoint.set(entry());
        checkpoint.advance("/var/log/a.log", 7, Snapshot { restart: 9, last: [9, 9] }, entry().fingerprint);
        checkpoint.advance("/var/log/a.log", 6, Snapshot { restart: 1, last: [1, 1] }, entry().fingerprint);
        checkpoint.save().await.unwrap();
        let (again, _) = Checkpoint::open(path.clone());
        assert_eq!(again.get("/var/log/a.log").unwrap().restart, 9);
        fs::write(&path, b"nonsense").unwrap();
        assert!(Checkpoint::open(path).1.is_some());
    }
}
