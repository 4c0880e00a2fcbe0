//! What this process takes of the machine.

/// Bytes of this process in memory now, mapped files included.
pub(super) fn resident() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = sysinfo::System::new().ok()?;
    let only_memory = sysinfo::ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::Some(&[pid]), false, only_memory);
    Some(system.process(pid)?.memory())
}

/// Large pieces of memory are given back to the system when they are freed. Left to itself, glibc begins to keep
/// them after the first few, and a long chat's blocks and states of many sizes then leave gaps of 40 MB.
pub(super) fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number in the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Seconds that all cores together have worked for this process.
#[cfg(unix)]
pub(super) fn processor_seconds() -> Option<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct that it is given, which is all plain numbers.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Some(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// Seconds that all cores together have worked for this process: not known on this system.
#[cfg(not(unix))]
pub(super) fn processor_seconds() -> Option<f64> {
    None
}

/// The most bytes that this process ever had in memory.
#[cfg(unix)]
pub(super) fn peak_resident() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct that it is given, which is all plain numbers.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).ok().map(|n| n * unit)
}

/// The most bytes that this process ever had in memory: not known on this system.
#[cfg(not(unix))]
pub(super) fn peak_resident() -> Option<u64> {
    None
}
