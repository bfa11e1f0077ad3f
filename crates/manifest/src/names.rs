use crate::{FileHash, GuestPath, escape};
use std::collections::{BTreeMap, BTreeSet};

/// Names the entry point of every hash: `<basename>_start` by the basename of the hash's first path in byte order, escaped
/// as paths are ([`escape`]). If several hashes claim one name, or `reserved` holds it (the exports of polyfills), all of them become
/// `<basename>_start_<first 8 hex digits of the hash>`; those that are equal even then get 16 digits, and then all 64.
///
/// The result depends on the set of (path, hash) pairs alone, not on their order. `_dispatch`, `_resume` and `_run` can not come out:
/// every name ends in `_start` or in `_start_` and digits.
pub fn entry_points<'a>(
    entries: impl IntoIterator<Item = (&'a GuestPath, FileHash)>,
    reserved: &BTreeSet<String>,
) -> BTreeMap<FileHash, String> {
    let mut first_path: BTreeMap<FileHash, &GuestPath> = BTreeMap::new();
    for (path, hash) in entries {
        let first = first_path.entry(hash).or_insert(path);
        *first = path.min(first);
    }
    let mut claims: BTreeMap<String, Vec<FileHash>> = BTreeMap::new();
    for (hash, path) in first_path {
        claims.entry(format!("{}_start", escape(path.basename()))).or_default().push(hash);
    }
    let mut names = BTreeMap::new();
    for (name, hashes) in claims {
        match hashes[..] {
            [hash] if !reserved.contains(&name) => {
                names.insert(hash, name);
            }
            _ => names.extend(with_digits(&name, &hashes)),
        }
    }
    names
}

/// Appends to `name` as many digits of each hash as it takes to tell them apart: 8, 16 or 64.
fn with_digits(name: &str, hashes: &[FileHash]) -> Vec<(FileHash, String)> {
    let mut done = Vec::new();
    let mut left = hashes.to_vec();
    for digits in [8, 16, 64] {
        let mut groups: BTreeMap<String, Vec<FileHash>> = BTreeMap::new();
        for hash in left.drain(..) {
            groups.entry(hash.hex().chars().take(digits).collect()).or_default().push(hash);
        }
        for (hex, group) in groups {
            match group[..] {
                [hash] => done.push((hash, format!("{name}_{hex}"))),
                _ => left.extend(group),
            }
        }
    }
    done
}

/// Whether `name` has the form of an entry point's name: something, `_start`, and perhaps `_` and 8, 16 or 64 lower-case hexadecimal digits.
pub(crate) fn is_entry_point(name: &str) -> bool {
    let is_hex = |s: &str| matches!(s.len(), 8 | 16 | 64) && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let stem = match name.rsplit_once("_start_") {
        Some((stem, hex)) if is_hex(hex) => Some(stem),
        _ => name.strip_suffix("_start"),
    };
    // A basename has at most 255 bytes, of which each takes up to 4 characters when escaped.
    stem.is_some_and(|s| !s.is_empty() && s.len() <= 4 * crate::NAME_MAX && !s.contains(['/', '\0']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(start: &str) -> FileHash {
        FileHash::from_hex(&format!("{start:0<64}")).unwrap()
    }

    fn names(entries: &[(&str, FileHash)], reserved: &[&str]) -> BTreeMap<FileHash, String> {
        let entries: Vec<_> = entries.iter().map(|(p, h)| (GuestPath::new(*p).unwrap(), *h)).collect();
        let reserved = reserved.iter().map(|s| s.to_string()).collect();
        let forward = entry_points(entries.iter().map(|(p, h)| (p, *h)), &reserved);
        let backward = entry_points(entries.iter().rev().map(|(p, h)| (p, *h)), &reserved);
        assert_eq!(forward, backward);
        assert!(forward.values().all(|n| is_entry_point(n)));
        assert_eq!(forward.values().collect::<BTreeSet<_>>().len(), forward.len());
        forward
    }

    #[test]
    fn first_path_in_byte_order_names_the_hash() {
        let h = hash("01");
        assert_eq!(names(&[("/usr/bin/ls", h), ("/bin/dir", h), ("/bin/vdir", h)], &[])[&h], "dir_start");
        assert_eq!(names(&[("/bin/[", h)], &[])[&h], "[_start");
    }

    #[test]
    fn colliding_names_all_get_digits() {
        let (a, b, c) = (hash("0123456789"), hash("0123456788"), hash("ff"));
        let n = names(&[("/bin/ls", a), ("/usr/bin/ls", c)], &[]);
        assert_eq!((&n[&a][..], &n[&c][..]), ("ls_start_01234567", "ls_start_ff000000"));
        let n = names(&[("/bin/ls", a), ("/sbin/ls", b), ("/usr/bin/ls", c)], &[]);
        assert_eq!(n[&a], "ls_start_0123456789000000");
        assert_eq!(n[&b], "ls_start_0123456788000000");
        assert_eq!(n[&c], "ls_start_ff000000");
        let (d, e) = (hash("aaaaaaaaaaaaaaaaaa1"), hash("aaaaaaaaaaaaaaaaaa2"));
        let n = names(&[("/bin/x", d), ("/sbin/x", e)], &[]);
        assert_eq!(n[&d], format!("x_start_{}", d.hex()));
        assert_eq!(n[&e], format!("x_start_{}", e.hex()));
    }

    #[test]
    fn reserved_names_are_left_to_polyfills() {
        let h = hash("0a0b0c0d");
        assert_eq!(names(&[("/opt/python", h)], &["python_start"])[&h], "python_start_0a0b0c0d");
    }

    #[test]
    fn odd_basenames() {
        let h = hash("01");
        let path = GuestPath::new(b"/bin/\xff\\".to_vec()).unwrap();
        let n = entry_points([(&path, h)], &BTreeSet::new());
        assert_eq!(n[&h], "\\xff\\\\_start");
        // A basename that looks like a name with digits still can not collide with one.
        let n = names(&[("/bin/ls", hash("01234567")), ("/sbin/ls", hash("ff")), ("/bin/ls_start_01234567", h)], &[]);
        assert_eq!(n[&h], "ls_start_01234567_start");
        for bad in ["", "_start", "ls", "_dispatch", "ls_start_0123", "ls_start_0123456G", "a/b_start"] {
            assert!(!is_entry_point(bad), "{bad}");
        }
    }
}
