//! Reads facts about the machine: processor, memory, disk, clock.
//!
//! Guarantees: nothing is changed. A fact that the system does not know is `None`, never a guess.
//! Costs: microseconds; but the free space of a network disk may take forever.

use std::path::Path;

/// The name of the processor and its instruction sets, by which ONNX Runtime chooses its kernels.
pub(crate) fn cpu_name() -> String {
    let facts = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fact = |key: &str| {
        facts
            .lines()
            .find_map(|line| line.split_once(':').filter(|(name, _)| name.trim() == key))
            .map(|(_, v)| v.trim())
    };
    let name = fact("model name").or_else(|| fact("CPU part")).unwrap_or(std::env::consts::ARCH);
    let sets: Vec<&str> = fact("flags")
        .unwrap_or_default()
        .split_whitespace()
        .filter(|flag| {
            ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile"].contains(flag)
        })
        .collect();
    if sets.is_empty() { name.to_owned() } else { format!("{name} ({})", sets.join(" ")) }
}

/// The resident memory of this process, in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    Some(kib.parse::<u64>().ok()? * 1024)
}

/// The free space on the disk of `path`, in bytes, without what is reserved for root. May never return for a network disk.
pub fn disk_free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The size of the disk of `path`, in bytes. May never return for a network disk.
pub(crate) fn disk_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Whether two folders are on one disk. True where the system does not know.
pub(crate) fn same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    match (device(one), device(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whether the kernel's clock follows a reference (NTP, PTP). `None` if the system does not know.
pub fn clock_synchronised() -> Option<bool> {
    // The file of systemd-timesyncd is for services that may not ask the kernel (ProtectClock).
    kernel_clock_synchronised()
        .or_else(|| Path::new("/run/systemd/timesync/synchronized").exists().then_some(true))
}

/// Asks the kernel. Uses `unsafe`, because no maintained crate wraps this system call safely.
#[allow(unsafe_code)]
fn kernel_clock_synchronised() -> Option<bool> {
    // SAFETY: `timex` is integers and a `timeval` only, for which zeros are valid; `modes` = 0 reads and
    // changes nothing; the pointer is to a whole, exclusively borrowed `timex` that outlives the call.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(!cpu_name().is_empty());
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(disk_free_bytes(Path::new("/")).is_some());
        assert_eq!(disk_free_bytes(Path::new("/nowhere/at/all")), None);
        assert!(
            same_disk(Path::new("/"), Path::new("/etc")) && !same_disk(Path::new("/"), Path::new("/proc"))
        );
        assert!(disk_bytes(Path::new("/")) > disk_free_bytes(Path::new("/")));
    }
}
