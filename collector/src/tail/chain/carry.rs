//! What a file leaves open for the next one, kept beside the pins until the next one is over: after a restart the line is
//! joined again from it, wherever the file before has gone by then. Durable before the next file's entry is in the
//! checkpoint. Format: `docs/formats/checkpoint.md`. Called by [`super::Chain`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Chain, Loss};
use crate::LINE_BYTES_MAX;
use crate::private;
use crate::tail::STREAMS;
use crate::tail::assemble::Carried;
use crate::tail::checkpoint::Entry;

const VERSION: u32 = 1;
/// A head and two lines, each at most as long as a line may be.
const CARRIED_BYTES_MAX: u64 = 2 * LINE_BYTES_MAX as u64 + 1024;

/// First line of the file; the bodies follow, stdout's first.
#[derive(Serialize, Deserialize)]
struct Head {
    weir_carried: u32,
    /// Of the generation in which the lines end.
    epoch: u64,
    /// Timestamp and length of stdout's and of stderr's line.
    parts: [Option<(i64, usize)>; STREAMS],
    /// Of the bodies.
    crc32c: u32,
}

impl Chain {
    fn carry_path(&self) -> PathBuf {
        self.deps.pins.join(format!("{}carried", self.prefix()))
    }

    /// Durable when it answers. Nothing carried: what was kept goes.
    pub(super) fn keep_carried(&self, epoch: u64, carried: &[Option<Carried>; STREAMS]) -> io::Result<()> {
        let path = self.carry_path();
        if carried.iter().all(Option::is_none) {
            return self.drop_carried();
        }
        private::replace(&path, &path.with_extension("carried-new"), &encode(epoch, carried))
    }

    pub(super) fn drop_carried(&self) -> io::Result<()> {
        match fs::remove_file(self.carry_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What was kept for the checkpoint's generation. What cannot be read is a loss, and named.
    pub(super) fn kept_carried(&mut self, entry: &Entry) -> io::Result<[Option<Carried>; STREAMS]> {
        let mut bytes = Vec::new();
        match File::open(self.carry_path()) {
            Ok(file) => drop(file.take(CARRIED_BYTES_MAX + 1).read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error),
        }
        match decode(&bytes) {
            Some((epoch, carried)) if epoch == entry.epoch => Ok(carried),
            // Of the generation that would have come next: its entry was not written any more.
            Some(_) => Ok(Default::default()),
            None => {
                self.losses.push(Loss { reason: "carried_unusable", bytes: bytes.len() as u64 });
                Ok(Default::default())
            }
        }
    }
}

fn encode(epoch: u64, carried: &[Option<Carried>; STREAMS]) -> Vec<u8> {
    let bodies: Vec<u8> = carried.iter().flatten().flat_map(|carried| carried.body.iter().copied()).collect();
    let parts = carried.each_ref().map(|carried| carried.as_ref().map(|carried| (carried.timestamp, carried.body.len())));
    let head = Head { weir_carried: VERSION, epoch, parts, crc32c: crc32c::crc32c(&bodies) };
    let mut bytes = serde_json::to_vec(&head).expect("invariant: plain data is JSON");
    bytes.push(b'\n');
    bytes.extend(bodies);
    bytes
}

/// `None` when it is damaged, or of another version.
pub(in crate::tail) fn decode(bytes: &[u8]) -> Option<(u64, [Option<Carried>; STREAMS])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    let mut bodies = &bytes[end + 1..];
    if head.weir_carried != VERSION || head.crc32c != crc32c::crc32c(bodies) {
        return None;
    }
    let mut carried: [Option<Carried>; STREAMS] = Default::default();
    for (part, carried) in head.parts.into_iter().zip(&mut carried) {
        let Some((timestamp, length)) = part else { continue };
        let (body, rest) = bodies.split_at_checked(length).filter(|_| length <= LINE_BYTES_MAX)?;
        bodies = rest;
        *carried = Some(Carried { timestamp, body: body.to_vec() });
    }
    bodies.is_empty().then_some((head.epoch, carried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_never_change_and_damage_is_noticed() {
        let carried = [None, Some(Carried { timestamp: 7, body: b"half \n\xff".to_vec() })];
        let bytes = encode(9, &carried);
        let head = r#"{"weir_carried":1,"epoch":9,"parts":[null,[7,7]],"crc32c":"#;
        let expected = [format!("{head}{}}}\n", crc32c::crc32c(b"half \n\xff")).as_bytes(), b"half \n\xff"].concat();
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes), Some((9, carried)));
        for i in 0..bytes.len() {
            assert_eq!(decode(&bytes[..i]), None, "cut at {i}");
        }
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&damaged), None);
    }
}
