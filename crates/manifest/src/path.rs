use crate::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Longest path in bytes (Linux `PATH_MAX` without its NUL).
pub const PATH_MAX: usize = 4095;
/// Longest name of one directory entry in bytes (Linux `NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// An absolute, normal path inside a container, as bytes: it begins with `/`, has no empty, `.` or `..` component, no `/` at the end,
/// no NUL byte, and keeps within [`PATH_MAX`] and [`NAME_MAX`]. The root itself is not a `GuestPath`: these name files.
///
/// Paths sort by their bytes. In text (JSON, messages) they are written with [`escape`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(Vec<u8>);

impl GuestPath {
    /// Checks `bytes` and takes them as a path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<GuestPath, Error> {
        let bytes = bytes.into();
        let refuse = |why: &str| {
            let shown = escape(&bytes[..bytes.len().min(80)]);
            Err(Error::new(format_args!("path '{shown}{}' {why}", if bytes.len() > 80 { "..." } else { "" })))
        };
        let Some(relative) = bytes.strip_prefix(b"/") else { return refuse("is not absolute") };
        if bytes.len() > PATH_MAX {
            return refuse("is longer than 4095 bytes");
        }
        if bytes.contains(&0) {
            return refuse("holds a NUL byte");
        }
        for component in relative.split(|b| *b == b'/') {
            match component {
                b"" => return refuse("has an empty component"),
                b"." | b".." => return refuse("has a '.' or '..' component"),
                _ if component.len() > NAME_MAX => return refuse("has a component longer than 255 bytes"),
                _ => {}
            }
        }
        Ok(GuestPath(bytes))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn basename(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }
}

/// Maps by path can be asked with plain bytes.
impl std::borrow::Borrow<[u8]> for GuestPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the escaped form, see [`unescape`].
impl FromStr for GuestPath {
    type Err = Error;

    fn from_str(s: &str) -> Result<GuestPath, Error> {
        GuestPath::new(unescape(s)?)
    }
}

impl Serialize for GuestPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GuestPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GuestPath, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        s.parse().map_err(de::Error::custom)
    }
}

/// Writes bytes that need not be UTF-8 as text, without loss: a byte that is no part of well-formed UTF-8 becomes `\x` and two lower-case
/// hexadecimal digits, a backslash becomes `\\`, everything else stays as it is.
///
/// This happens before JSON's own escaping: the name `a\xff` (two bytes) is `"a\\xff"` in a JSON file.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                text.push('\\');
            }
            text.push(c);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The inverse of [`escape`]. Refuses any text that [`escape`] does not write, so that a path has one spelling.
pub fn unescape(text: &str) -> Result<Vec<u8>, Error> {
    let refuse = || Error::new(format_args!("{} is not an escaped path", crate::error::excerpt(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let nibble = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(refuse);
                bytes.push(nibble(*high)? << 4 | nibble(*low)?);
                tail
            }
            (b'\\', _) => return Err(refuse()),
            (byte, tail) => {
                bytes.push(byte);
                tail
            }
        };
    }
    if escape(&bytes) == text { Ok(bytes) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_round_trips_and_has_one_spelling() {
        for (bytes, text) in [
            (&b"/bin/ls"[..], "/bin/ls"),
            ("/bin/\u{e9}\n".as_bytes(), "/bin/\u{e9}\n"),
            (b"/a\xff\xc3", "/a\\xff\\xc3"),
            (b"/a\\x2d", "/a\\\\x2d"),
            (b"/\xed\xa0\x80", "/\\xed\\xa0\\x80"),
        ] {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).unwrap(), bytes);
            assert_eq!(text.parse::<GuestPath>().unwrap().as_bytes(), bytes);
        }
        for bad in ["\\", "\\x", "\\xf", "\\xFF", "\\x41", "\\n", "\\xc3\\xa9", "\\xg0"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_absolute_and_normal() {
        let long_name = format!("/{}", "a".repeat(256));
        let long_path = "/aaaaaaa".repeat(512);
        for bad in [
            "", "/", "bin/ls", "./ls", "/bin//ls", "/bin/", "/./ls", "/../ls", "/bin/..", "/a\0b", &long_name,
            &long_path,
        ] {
            assert!(GuestPath::new(bad).is_err(), "{bad}");
        }
        let path = GuestPath::new("/usr/bin/..ls").unwrap();
        assert_eq!(path.basename(), b"..ls");
    }
}
