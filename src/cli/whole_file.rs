//! Writes a file that has its name only when all of it is on the disk.
//!
//! Guarantees: a command that is killed, or that finds the disk full, leaves no half file that could be taken for a whole one;
//! what was under that name before stays until then. Needs no links, so it works on the file systems of USB sticks. What is no
//! ordinary file (`/dev/stdout`, a pipe) is written as it is.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct WholeFile(Target);

#[derive(Debug)]
enum Target {
    Unfinished { file: BufWriter<NamedTempFile>, name: PathBuf },
    Special(BufWriter<File>),
}

impl WholeFile {
    /// Begins to write the file at `path`, or to replace it. A link is followed.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let there = match fs::metadata(path) {
            Ok(there) if !there.is_file() => return Self::special(path),
            Ok(there) => Some(there.permissions()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A link keeps its place: the file that it names is replaced.
        let name = if there.is_some() { path.canonicalize()? } else { path.to_owned() };
        let file = match unfinished(&name, there.clone()) {
            // A folder that gets no new files may hold a file that can be written.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && there.is_some() => {
                return Self::special(path);
            }
            file => BufWriter::new(file?),
        };
        Ok(Self(Target::Unfinished { file, name }))
    }

    fn special(path: &Path) -> io::Result<Self> {
        Ok(Self(Target::Special(BufWriter::new(File::create(path)?))))
    }

    /// Gives the file its name. Without this, nothing of it is left.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.0 {
            Target::Special(mut file) => file.flush(),
            Target::Unfinished { file, name } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_data()?;
                file.persist(name)?;
                Ok(())
            }
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Target::Unfinished { file, .. } => file.write(bytes),
            Target::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Target::Unfinished { file, .. } => file.flush(),
            Target::Special(file) => file.flush(),
        }
    }
}

/// Writes a file, or replaces it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// Writes a new file. An error if there is one of that name.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = unfinished(path, None)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(error.error),
        // Some file systems can neither rename without replacing nor link. No other program writes here meanwhile.
        Err(_) if path.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(error) => Ok(error.file.persist(path).map(drop)?),
    }
}

/// A file beside the one that it becomes.
fn unfinished(path: &Path, permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".unfinished")
        // Others read it too, where the umask lets them.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    if let Some(permissions) = permissions {
        let _ = file.as_file().set_permissions(permissions); // not every file system has them
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"one").unwrap();
        file.flush().unwrap();
        assert!(!path.exists(), "half of it is there under its name");
        drop(file);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        write(&path, b"whole").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"ne").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["rows.csv"]);
    }

    #[test]
    fn a_link_keeps_its_place_and_a_file_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write(&file, b"old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn what_is_no_file_is_written_as_it_is() {
        write(Path::new("/dev/null"), b"lines").unwrap();
        let full = write(Path::new("/dev/full"), b"lines").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.png");
        write_new(&path, b"one").unwrap();
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["1.png"]);
    }
}
