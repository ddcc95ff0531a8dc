//! Takes the wanted files out of a wheel, which is a zip archive.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;

use crate::shell::{At, Failure, Result};

/// Writes the files of `archive` that `keep` names under `folder`: (file, new name), or (folder/, new folder/) for all
/// below it. A pair that finds nothing is an error.
pub(super) fn unpack(archive: &Path, keep: &[(&str, &str)], folder: &Path) -> Result<()> {
    let broken = |error: zip::result::ZipError| Failure::new(format!("{}: {error}", archive.display()));
    let mut zip = ZipArchive::new(BufReader::new(File::open(archive).at(archive)?)).map_err(broken)?;
    let mut found = vec![false; keep.len()];
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let Some((pair, target)) = target(&name, keep) else { continue };
        if entry.is_dir() {
            continue;
        }
        if entry.enclosed_name().is_none() {
            return Err(Failure::new(format!("{}: {name} leads out of the folder", archive.display())));
        }
        let path = folder.join(target);
        let parent = path.parent().expect("below the folder");
        fs::create_dir_all(parent).at(parent)?;
        let mut file = File::create(&path).at(&path)?;
        std::io::copy(&mut entry, &mut file).at(&path)?;
        found[pair] = true;
    }
    match keep.iter().zip(found).find(|(_, found)| !found) {
        Some(((wanted, _), _)) => Err(Failure::new(format!("{}: no {wanted} in it", archive.display()))),
        None => Ok(()),
    }
}

/// The pair of `keep` that wants this entry, and its new name.
fn target(name: &str, keep: &[(&str, &str)]) -> Option<(usize, String)> {
    keep.iter().enumerate().find_map(|(i, (from, to))| {
        let rest = name.strip_prefix(from)?;
        (rest.is_empty() || from.ends_with('/')).then(|| (i, format!("{to}{rest}")))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(folder: &Path, names: &[&str]) -> std::path::PathBuf {
        let path = folder.join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn only_the_wanted_files_come_out_under_their_new_names() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/include/a/b.h", "t/lib/x.so", "t/lib/x.so.2", "t/other"]);
        let out = folder.path().join("out");
        unpack(&wheel, &[("t/include/", "include/"), ("t/lib/x.so", "lib/y.so")], &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("include/a/b.h")).unwrap(), "t/include/a/b.h");
        assert_eq!(fs::read_to_string(out.join("lib/y.so")).unwrap(), "t/lib/x.so");
        assert_eq!(fs::read_dir(out.join("lib")).unwrap().count(), 1);
        assert!(!out.join("other").exists());
    }

    #[test]
    fn a_wanted_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/lib/x.so"]);
        let failure = unpack(&wheel, &[("t/lib/z.so", "z.so")], &folder.path().join("out")).unwrap_err();
        assert!(failure.what.ends_with("no t/lib/z.so in it"), "{}", failure.what);
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/../../evil"]);
        assert!(unpack(&wheel, &[("t/", "")], &folder.path().join("out")).is_err());
    }

    #[test]
    fn a_file_that_is_no_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        fs::write(&path, "not a zip").unwrap();
        assert!(unpack(&path, &[("t/", "")], folder.path()).unwrap_err().what.contains("a.whl"));
    }
}
