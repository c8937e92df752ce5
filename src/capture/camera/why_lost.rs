//! Messages that say why a camera gives no frames and what to do.

use std::io;
use std::path::Path;

use super::ioctl;
use crate::capture::{Trouble, TroubleKind};

/// What a failed call means, and what to do.
pub(super) fn why_lost(error: &io::Error) -> String {
    let words = match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "not there; plug it in, or give one of the names that `certiscope cameras` lists"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "no permission; the user that runs this must be in the group `video`"
        }
        Some(libc::EBUSY) => "busy: another program uses it, and only one can (`fuser -v` names it)",
        Some(libc::ENODEV | libc::ENXIO) => "gone: it was unplugged, or its driver dropped it; plug it in",
        Some(libc::ENOTTY | libc::EINVAL) => {
            "no camera; a video node such as `certiscope cameras` lists is needed"
        }
        Some(libc::EIO) => "its driver reports a fault of the device; look at the cable and the port",
        Some(_) => return format!("{error}; see the kernel's log (`dmesg`)"),
        None => return error.to_string(),
    };
    words.to_owned()
}

pub(super) fn lost(device: &Path, error: &io::Error) -> Trouble {
    let reason = format!("source.device = {}: {}", device.display(), why_lost(error));
    Trouble { kind: TroubleKind::Lost, reason }
}

/// Why a node of this driver gives no frames.
pub(super) fn no_capture(identity: &ioctl::Identity) -> String {
    let ioctl::Identity { driver, card, .. } = identity;
    let why = if identity.captures_in_planes {
        "gives its frames in several planes, which is not supported"
    } else {
        "gives no frames: another node of the same camera may give them, or no program writes to this one"
    };
    format!("{card} ({driver}) {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do() {
        let words = |code| why_lost(&io::Error::from_raw_os_error(code));
        assert!(words(libc::EACCES).contains("group `video`"));
        assert!(words(libc::EBUSY).contains("another program"));
        assert!(words(libc::ENODEV).contains("plug it in"));
        assert!(words(libc::EIO).contains("cable"));
        assert!(words(libc::ENOSPC).contains("space") && words(libc::ENOSPC).contains("dmesg"));
    }
}
