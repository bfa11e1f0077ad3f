//! Applying one layer (OCI image specification, `layer.md`) to the tree.

use crate::error::shown;
use crate::tarball::{Input, Kind, Member, Members};
use crate::tree::{Builder, Entry};
use crate::{Error, Meta};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of other names that aufs kept for itself.
const AUFS: &[u8] = b".wh..wh.";

/// Applies the members of `archive` to `tree` as a new layer. Counts in `xattrs` the members whose extended attributes are left out.
pub(crate) fn apply<R: Input>(tree: &mut Builder, archive: &mut Members<R>, xattrs: &mut u64) -> Result<(), Error> {
    tree.next_layer();
    while let Some(member) = archive.next()? {
        *xattrs += u64::from(member.xattrs);
        member_in(tree, archive, &member).map_err(|e| e.of(format_args!("member {}", shown(&member.path))))?;
    }
    Ok(())
}

fn member_in<R: Input>(tree: &mut Builder, archive: &mut Members<R>, member: &Member) -> Result<(), Error> {
    let path = &*member.path;
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    let trimmed = path.get(..end).unwrap_or_default();
    let (parent, name) = match trimmed.iter().rposition(|b| *b == b'/') {
        Some(at) => trimmed.split_at(at + 1),
        None => (&b""[..], trimmed),
    };
    if name == OPAQUE {
        return tree.opaque(parent);
    }
    if name.starts_with(AUFS) {
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::new("a whiteout that names no file"));
        }
        return tree.whiteout(&[parent, hidden].concat());
    }
    let meta = Meta {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        mtime_nsec: member.mtime_nsec,
    };
    let (major, minor) = (member.major, member.minor);
    match member.kind {
        Kind::Regular => tree.file(path, meta, archive.data()),
        Kind::HardLink => tree.hard_link(path, &member.link),
        Kind::Symlink => tree.entry(path, meta, Entry::Symlink(member.link.clone())),
        Kind::Directory => tree.entry(path, meta, Entry::Directory),
        Kind::CharDevice => tree.entry(path, meta, Entry::CharDevice { major, minor }),
        Kind::BlockDevice => tree.entry(path, meta, Entry::BlockDevice { major, minor }),
        Kind::Fifo => tree.entry(path, meta, Entry::Fifo),
    }
}
