//! The kernel's own word on whom it killed for lack of memory, out of its log (`/dev/kmsg`): the one account that outlives
//! the cgroup, whichever version of cgroups there is. The kernel writes one line a kill, but no more than ten in five
//! seconds; counters of the cgroups ([`super::MemorySample::oom_kills`]) say how many while they are there.
//! Read by the containers' history; where the log may not be read, the others have to do.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use weir_model::time::UnixNanos;

/// One record has at most 1 KiB of text and as much of a dictionary (kernel `CONSOLE_EXT_LOG_MAX`).
const RECORD_BYTES_MAX: usize = 8 << 10;

/// A process that was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The cgroup it was in.
    pub cgroup: String,
    /// Unix nanoseconds, to the clock's steps since.
    pub at: UnixNanos,
}

/// How far the log has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// The kernel's id of this boot; numbers begin anew with each.
    pub boot: String,
    /// The number of the next record.
    pub next: u64,
}

/// An open kernel log.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    position: LogPosition,
}

impl KernelLog {
    /// Goes on at `from` if that was in this boot; begins with what is logged from now on otherwise.
    pub fn open(root: &Path, from: Option<&LogPosition>) -> io::Result<Self> {
        let boot = std::fs::read_to_string(root.join("proc/sys/kernel/random/boot_id"))?.trim().to_owned();
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC).bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(flags).open(root.join("dev/kmsg"))?;
        let from = from.filter(|from| from.boot == boot);
        file.seek(if from.is_some() { SeekFrom::Start(0) } else { SeekFrom::End(0) })?;
        let position = from.cloned().unwrap_or(LogPosition { boot, next: 0 });
        Ok(Self { file, position })
    }

    /// What was logged since the last call. `now` is the time on whose clock the kills are told.
    pub fn read(&mut self, now: UnixNanos) -> Vec<Kill> {
        let up = clock_gettime(ClockId::Monotonic);
        let booted = now - (up.tv_sec * 1_000_000_000 + up.tv_nsec);
        let mut kills = Vec::new();
        let mut buffer = [0; RECORD_BYTES_MAX];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return kills,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    let Some((number, micros, message)) = record(&text) else { continue };
                    if number < self.position.next {
                        continue;
                    }
                    self.position.next = number + 1;
                    if let Some(cgroup) = victim(message) {
                        kills.push(Kill { cgroup: cgroup.to_owned(), at: booted + micros * 1000 });
                    }
                }
                // EPIPE: records were overwritten before we came; the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // EAGAIN: that was all.
                Err(_) => return kills,
            }
        }
    }

    /// How far it has been read.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }
}

/// Number, microseconds since the boot, and text of `priority,number,micros,flags;text` (kernel `dev-kmsg` ABI).
fn record(text: &str) -> Option<(u64, i64, &str)> {
    let (head, message) = text.split_once(';')?;
    let mut fields = head.split(',').skip(1);
    let (number, micros) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((number, micros, message.lines().next().unwrap_or_default()))
}

/// The cgroup of the process that was killed (kernel `mm/oom_kill.c`, `dump_oom_victim`).
fn victim(message: &str) -> Option<&str> {
    let (_, rest) = message.strip_prefix("oom-kill:")?.split_once(",task_memcg=")?;
    Some(rest.split_once(",task=")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_read_off_its_line() {
        let check =
            |text: &str, expected| assert_eq!(record(text).map(|(n, at, message)| (n, at, victim(message))), expected, "{text}");
        let kill = "6,812,30748479388,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/pod,task_memcg=/pod/a,task=tail,pid=30780,uid=0\n SUBSYSTEM=x\n";
        check(kill, Some((812, 30_748_479_388, Some("/pod/a"))));
        check("6,813,5,-;Memory cgroup out of memory: Killed process 1 (tail)\n", Some((813, 5, None)));
        check(
            "6,814,5,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/,task=x,pid=1,uid=0",
            Some((814, 5, Some("/"))),
        );
        for none in ["", ";", "6;x", "6,x,1,-;y"] {
            check(none, None);
        }
    }
}
