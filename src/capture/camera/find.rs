//! The list of video nodes with all their names.
//!
//! nokhwa panics on a name in /dev that begins with `video` and has no number: so such a name is refused before nokhwa is called.

use std::io;
use std::path::{Path, PathBuf};

use nokhwa::utils::ApiBackend;

/// One node with the links that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub path: PathBuf,
    /// Links that stay the same when other cameras are plugged in or out: `by_id` names the camera, `by_path` the port.
    pub by_id: Vec<PathBuf>,
    pub by_path: Vec<PathBuf>,
}

/// All nodes, in the order of their numbers.
pub(crate) fn devices() -> io::Result<Vec<Device>> {
    refuse_names_without_number(Path::new("/dev"))?;
    let found = nokhwa::query(ApiBackend::Video4Linux).map_err(io::Error::other)?;
    let mut numbers: Vec<u32> = found.iter().filter_map(|info| info.index().as_index().ok()).collect();
    numbers.sort_unstable();
    // nokhwa lists a link in /dev with a number in its name as if it were the node of that number.
    numbers.dedup();
    let nodes = numbers.into_iter().map(|number| PathBuf::from(format!("/dev/video{number}")));
    Ok(nodes.filter(|path| path.exists()).map(device).collect())
}

/// A node by its path, with the links that lead to it.
pub(crate) fn device(path: PathBuf) -> Device {
    let by_id = links_to(&path, Path::new("/dev/v4l/by-id"));
    let by_path = links_to(&path, Path::new("/dev/v4l/by-path"));
    Device { path, by_id, by_path }
}

/// nokhwa panics on a name that begins with `video` and has no number.
fn refuse_names_without_number(folder: &Path) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let numbered = |name: &str| name.bytes().any(|byte| byte.is_ascii_digit());
        if name.as_encoded_bytes().starts_with(b"video") && !name.to_str().is_some_and(numbered) {
            return Err(io::Error::other(format!(
                "{}: begins with `video` and has no number, so the list of cameras cannot be made; rename this link (a udev rule made it), or name a device",
                folder.join(name).display()
            )));
        }
    }
    Ok(())
}

/// The links in `folder` that lead to the node, sorted; none where there is no such folder.
fn links_to(node: &Path, folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    let links = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut links: Vec<PathBuf> =
        links.filter(|link| link.canonicalize().is_ok_and(|target| target == node)).collect();
    links.sort();
    links
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_to_their_node_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (zero, one, ids) = (root.join("video0"), root.join("video1"), root.join("by-id"));
        for file in [&zero, &one] {
            std::fs::write(file, "").unwrap();
        }
        std::fs::create_dir(&ids).unwrap();
        for (link, target) in
            [("b", "../video1"), ("a", "../video1"), ("c", "../video0"), ("gone", "../video9")]
        {
            symlink(target, ids.join(link)).unwrap();
        }
        assert_eq!(links_to(&one, &ids), [ids.join("a"), ids.join("b")]);
        assert_eq!(links_to(&zero, &ids), [ids.join("c")]);
        assert!(links_to(&zero, &root.join("by-path")).is_empty());
    }

    #[test]
    fn a_name_on_which_nokhwa_would_panic_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["video0", "video-dec1", "null"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        refuse_names_without_number(folder.path()).unwrap();
        std::fs::write(folder.path().join("video-camera"), "").unwrap();
        let error = refuse_names_without_number(folder.path()).unwrap_err().to_string();
        assert!(error.contains("/video-camera: "), "{error}");
    }
}
