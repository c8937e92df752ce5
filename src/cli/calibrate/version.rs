//! The folder and number of the next version of a bundle.

use std::path::PathBuf;

use anyhow::{Context, anyhow};

use crate::bundle::Bundle;

/// A bundle that is to be written.
pub(super) struct Version {
    pub(super) folder: PathBuf,
    pub(super) number: u32,
}

impl Version {
    /// The version after all those beside the bundle: B, B-v2, B-v3. No number is used twice, even if the same bundle is
    /// calibrated again.
    pub(super) fn next_of(bundle: &Bundle) -> anyhow::Result<Self> {
        let at = || bundle.folder.display().to_string();
        let folder = bundle.folder.canonicalize().with_context(at)?;
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            anyhow!("{}: the next version cannot be named after it; give --out", folder.display())
        })?;
        let own = bundle.manifest.version;
        let stem = name.strip_suffix(&format!("-v{own}")).unwrap_or(name);
        let beside = folder.parent().expect("what has a name lies somewhere");
        let mut newest = own;
        for entry in beside.read_dir().with_context(at)? {
            let name = entry.with_context(at)?.file_name();
            let tail = name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_prefix("-v"));
            newest = newest.max(tail.and_then(|number| number.parse().ok()).unwrap_or(0));
        }
        let number = newest.saturating_add(1);
        Ok(Self { folder: beside.join(format!("{stem}-v{number}")), number })
    }
}
