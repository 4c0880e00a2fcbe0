//! The most memory that this program has taken so far.

/// Bytes; none where the system does not tell.
pub(super) fn peak_memory() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: an all-zero rusage is a valid value of this plain C struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is valid for the call, which only writes to it.
        let done = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
        // Linux counts in KiB, macOS in bytes.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        (done == 0).then(|| usage.ru_maxrss as u64 * unit)
    }
    #[cfg(not(unix))]
    None
}
