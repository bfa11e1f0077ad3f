//! The instruction forms that real ELF files hold, with their number of sites and samples of their bytes.

use crate::forms::Form;
use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions};
use object::{Object, ObjectSection, ObjectSegment, SectionKind, SegmentFlags};
use std::collections::BTreeMap;
use std::path::Path;

/// Sites of one form.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// Number of places in all files.
    pub count: u64,
    /// Some distinct encodings, at most [`SAMPLES`].
    pub samples: Vec<Vec<u8>>,
}

/// Encodings kept a form.
pub const SAMPLES: usize = 12;

/// Forms by site.
pub type Census = BTreeMap<Form, Sites>;

/// Adds the forms of the ELF file at `path` to `census`: a linear sweep over its executable sections (segments when it has
/// no section headers). What does not decode is stepped over byte by byte, so that data in text adds a few forms that are not there.
///
/// # Errors
/// When the file cannot be read or is no x86-64 ELF file.
pub fn add_file(census: &mut Census, path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("{} is not an ELF file", path.display()))?;
    if file.architecture() != object::Architecture::X86_64 {
        anyhow::bail!("{} is not an x86-64 file", path.display());
    }
    let mut any = false;
    for s in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        if let Ok(data) = s.data() {
            any = true;
            add_code(census, data);
        }
    }
    if !any {
        for s in file.segments() {
            let exec = matches!(s.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags & 1 != 0);
            if let (true, Ok(data)) = (exec, s.data()) {
                add_code(census, data);
            }
        }
    }
    Ok(())
}

/// Adds the forms found in `code`.
pub fn add_code(census: &mut Census, code: &[u8]) {
    let mut d = Decoder::new(64, code, DecoderOptions::NONE);
    while d.can_decode() {
        let at = d.position();
        let i = d.decode();
        if i.is_invalid() {
            if d.set_position(at + 1).is_err() {
                return;
            }
            continue;
        }
        let sites = census.entry(Form::of(&i)).or_default();
        sites.count += 1;
        if let Some(bytes) = code.get(at..at + i.len())
            && sites.samples.len() < SAMPLES
            && !sites.samples.iter().any(|s| s == bytes)
        {
            sites.samples.push(bytes.to_vec());
        }
    }
}

/// Adds the file at `path`, or, for a directory, all x86-64 ELF files below it (symbolic links are not followed).
///
/// # Errors
/// When a file named itself cannot be used, or a directory not be read.
pub fn add_path(census: &mut Census, path: &Path) -> Result<()> {
    let meta = std::fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !meta.is_dir() {
        return add_file(census, path);
    }
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let path = entry?.path();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            add_path(census, &path)?;
        } else if meta.is_file() && is_elf(&path) {
            // Files for other machines are not ours to cover.
            let _ = add_file(census, &path);
        }
    }
    Ok(())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).is_ok_and(|mut f| std::io::Read::read_exact(&mut f, &mut magic).is_ok())
        && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_counts_forms_and_keeps_samples() {
        let mut census = Census::new();
        // add rbx, rax; add rcx, rax; add [rax], rcx; an invalid byte; ret
        add_code(&mut census, &[0x48, 0x01, 0xc3, 0x48, 0x01, 0xc1, 0x48, 0x01, 0x08, 0x06, 0xc3]);
        let of = |code, memory| census.get(&Form { code, memory }).map(|s| (s.count, s.samples.len()));
        assert_eq!(of(iced_x86::Code::Add_rm64_r64, false), Some((2, 2)));
        assert_eq!(of(iced_x86::Code::Add_rm64_r64, true), Some((1, 1)));
        assert_eq!(of(iced_x86::Code::Retnq, false), Some((1, 1)));
        assert_eq!(census.len(), 3);
    }
}
