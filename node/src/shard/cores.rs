//! A core for each shard's thread, where the system lets a thread choose.

#[cfg(not(target_os = "linux"))]
use self::elsewhere as system;
#[cfg(target_os = "linux")]
use self::linux as system;

/// Gives the shard of this thread a core of its own where there is one for each. A single shard is left to the scheduler:
/// other nodes may share the machine.
pub(super) fn pin(shard: u16, of: u16) {
    let Some(core) = own(shard, of, &system::allowed()) else { return };
    match system::keep_to(core) {
        Ok(()) => tracing::info!(shard, core, "shard pinned"),
        Err(error) => tracing::info!(shard, %error, "shard not pinned"),
    }
}

/// A shard's core, of those that there are.
fn own(shard: u16, of: u16, cores: &[usize]) -> Option<usize> {
    if of < 2 || usize::from(of) > cores.len() {
        return None;
    }
    cores.get(usize::from(shard)).copied()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The cores that this thread may run on.
    pub(super) fn allowed() -> Vec<usize> {
        let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
    }

    /// From now on this thread runs on this core alone.
    pub(super) fn keep_to(core: usize) -> io::Result<()> {
        let mut own = CpuSet::new();
        own.set(core);
        Ok(sched_setaffinity(None, &own)?)
    }
}

/// A system that does not let a thread choose. Compiled on Linux as well, where its test runs.
#[cfg_attr(target_os = "linux", allow(dead_code, reason = "built everywhere, so that it stays whole"))]
mod elsewhere {
    use std::io;

    pub(super) fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn keep_to(_: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_where_there_is_one_for_each() {
        let cores = [0, 1, 5];
        let of = |of: u16| (0..of).map(|shard| own(shard, of, &cores)).collect::<Vec<_>>();
        assert_eq!(of(1), [None]);
        assert_eq!(of(2), [Some(0), Some(1)]);
        assert_eq!(of(3), [Some(0), Some(1), Some(5)]);
        assert_eq!(of(4), [None; 4]);
    }

    #[test]
    fn other_systems_leave_all_shards_to_their_scheduler() {
        let cores = elsewhere::allowed();
        assert!((1..65).all(|of| (0..of).all(|shard| own(shard, of, &cores).is_none())));
        assert!(elsewhere::keep_to(0).is_err());
    }
}
