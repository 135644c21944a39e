//! How many arenas glibc's malloc keeps. Called first thing in `main`.
//!
//! By default it makes one for each thread that finds the others busy, up to eight a core, and what is freed in one is not there for
//! the next: a process held half as much again as it used (decision 0138). Not here: any other allocator's affairs.

#[cfg(target_env = "gnu")]
mod glibc {
    use std::ffi::c_int;

    /// `malloc.h`.
    pub(super) const M_ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        pub(super) fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
}

/// As many arenas as cores, unless `MALLOC_ARENA_MAX` says how many.
pub(crate) fn limit() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let arenas = std::ffi::c_int::try_from(cores).unwrap_or(std::ffi::c_int::MAX);
        // SAFETY: stores a number in the allocator, which takes its own lock for that.
        unsafe { glibc::mallopt(glibc::M_ARENA_MAX, arenas) };
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use std::process::Command;
    use std::sync::Barrier;

    use super::*;

    /// Of a child, which is this test again in a process of its own: whether it limits its arenas.
    const CHILD: &str = "WEIR_TEST_ARENAS";
    const THREADS: usize = 64;
    /// glibc maps so much at a time for every arena but the first, at a multiple of it.
    const HEAP_BYTES: usize = 64 << 20;

    /// Arenas of this process, but for the first.
    fn arenas() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let range = |line: &str| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
        };
        let ranges: Vec<(usize, usize)> = maps.lines().filter_map(range).collect();
        let is_heap = |pair: &&[(usize, usize)]| {
            pair[0].0.is_multiple_of(HEAP_BYTES) && pair[0].1 == pair[1].0 && pair[1].1 - pair[0].0 == HEAP_BYTES
        };
        ranges.windows(2).filter(is_heap).count()
    }

    /// Arenas when many threads allocate.
    fn arenas_of_child(limits: bool) -> usize {
        let name = "arenas::tests::threads_share_as_many_arenas_as_there_are_cores";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact", "--nocapture"]).env(CHILD, limits.to_string());
        child.env_remove("MALLOC_ARENA_MAX").env_remove("GLIBC_TUNABLES");
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let found = output.lines().find_map(|line| line.split("arenas: ").nth(1));
        found.unwrap_or_else(|| panic!("{output}")).parse().unwrap()
    }

    #[test]
    fn threads_share_as_many_arenas_as_there_are_cores() {
        if let Ok(limits) = std::env::var(CHILD) {
            if limits == "true" {
                limit();
            }
            let barrier = Barrier::new(THREADS);
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        std::hint::black_box(Vec::<u8>::with_capacity(1000));
                        barrier.wait();
                    });
                }
            });
            println!("arenas: {}", arenas());
            return;
        }
        let cores = std::thread::available_parallelism().unwrap().get();
        let (limited, free) = (arenas_of_child(true), arenas_of_child(false));
        assert!(limited <= cores, "{limited} arenas and the first on {cores} cores");
        assert!(free > limited, "{free} arenas without a limit, {limited} with one");
    }
}
