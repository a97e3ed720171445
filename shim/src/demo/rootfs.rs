//! Bundles of containers that consist of one program.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;

/// Makes `dir` a bundle: the configuration and a root file system of nothing but places to mount on.
pub(super) fn make_bundle(dir: &Path, config: &Value) -> Result<PathBuf, Error> {
    let root = dir.join("rootfs");
    for path in [dir.to_owned(), root.clone(), root.join("proc"), root.join("dev")] {
        make_dir(&path, 0o755)?;
    }
    let program = root.join("porthole");
    File::create(&program).map_err(Error::file("create", &program))?;
    let file = dir.join("config.json");
    fs::write(&file, config.to_string()).map_err(Error::file("write", &file))?;
    Ok(dir.to_owned())
}

pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().mode(mode).create(path).map_err(Error::file("create", path))
}

/// True unless the ELF file that starts like this can run without a dynamic loader.
pub(super) fn needs_an_interpreter(start: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    program_headers(start).is_none_or(|mut kinds| kinds.any(|kind| kind == PT_INTERP))
}

/// The kinds of the program headers of a 64-bit ELF file in this machine's byte order.
fn program_headers(start: &[u8]) -> Option<impl Iterator<Item = u32>> {
    const ELF64: u8 = 2;
    if !start.starts_with(b"\x7fELF") || start.get(4) != Some(&ELF64) {
        return None;
    }
    let half = |at: usize| start.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b));
    let offset = u64::from_ne_bytes(*start.get(32..)?.first_chunk()?);
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let table = start.get(usize::try_from(offset).ok()?..)?.get(..size.checked_mul(count)?)?;
    if size < 4 {
        return None;
    }
    Some(table.chunks(size).filter_map(|entry| entry.first_chunk().map(|b| u32::from_ne_bytes(*b))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..5].copy_from_slice(b"\x7fELF\x02");
        bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(kinds.len()).unwrap().to_ne_bytes());
        for kind in kinds {
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn a_program_without_an_interpreter_is_static() {
        assert!(!needs_an_interpreter(&elf(&[1, 1, 4])));
        assert!(needs_an_interpreter(&elf(&[6, 3, 1])));
    }

    #[test]
    fn what_is_no_elf_file_or_cut_is_not_trusted_to_be_static() {
        assert!(needs_an_interpreter(b"#!/bin/sh\n"));
        assert!(needs_an_interpreter(&[]));
        let whole = elf(&[1, 1]);
        assert!(needs_an_interpreter(&whole[..whole.len() - 1]));
    }
}
