use crate::Error;
use crate::error::excerpt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest (FIPS 180-4) of a file's bytes; written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHash(pub [u8; 32]);

impl FileHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> FileHash {
        FileHash(Sha256::digest(bytes).into())
    }

    /// The four big-endian words that `_dispatch` takes, first word first.
    pub fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        }
        words
    }

    /// The inverse of [`FileHash::words`].
    pub fn from_words(words: [u64; 4]) -> FileHash {
        let mut hash = [0; 32];
        for (bytes, word) in hash.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        FileHash(hash)
    }

    /// The 64 hexadecimal digits without `sha256:`.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut s, b| {
            for nibble in [b >> 4, b & 15] {
                s.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
            s
        })
    }

    /// Parses 64 lower-case hexadecimal digits (upper case is refused: one hash has one spelling).
    pub fn from_hex(hex: &str) -> Result<FileHash, Error> {
        let bad = || Error::new(format_args!("{} is not 64 lower-case hexadecimal digits", excerpt(hex)));
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(bad()),
        };
        if hex.len() != 64 {
            return Err(bad());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(FileHash(hash))
    }
}

impl From<[u8; 32]> for FileHash {
    fn from(bytes: [u8; 32]) -> FileHash {
        FileHash(bytes)
    }
}

impl AsRef<[u8]> for FileHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A BLAKE3 digest (32 bytes) of a file of AOT code; written `blake3:` and 64 lower-case hexadecimal digits. Such files are large, are hashed whole whenever a run first needs
/// them, and are nobody else's business: SHA-256 would take most of a run's start.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeHash(pub [u8; 32]);

impl CodeHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> CodeHash {
        CodeHash(blake3::hash(bytes).into())
    }
}

/// As text: the name of the algorithm, a colon and the digits.
macro_rules! as_text {
    ($hash:ty, $prefix:literal, $value:ident => $digits:expr, $make:expr) => {
        impl fmt::Display for $hash {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                write!(f, concat!($prefix, "{}"), $digits.hex())
            }
        }

        impl fmt::Debug for $hash {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $hash {
            type Err = Error;

            fn from_str(s: &str) -> Result<$hash, Error> {
                match s.strip_prefix($prefix) {
                    Some(hex) => FileHash::from_hex(hex).map($make),
                    None => Err(Error::new(format_args!("hash {} does not begin with '{}'", excerpt(s), $prefix))),
                }
            }
        }

        impl Serialize for $hash {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $hash {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$hash, D::Error> {
                let s = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                s.parse().map_err(de::Error::custom)
            }
        }
    };
}
as_text!(FileHash, "sha256:", hash => hash, |hash| hash);
as_text!(CodeHash, "blake3:", hash => FileHash(hash.0), |hash| CodeHash(hash.0));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_big_endian_and_text_round_trips() {
        // FIPS 180-4 example: SHA-256("abc").
        let h = FileHash::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(h.to_string(), text);
        assert_eq!(h.words(), [0xba7816bf8f01cfea, 0x414140de5dae2223, 0xb00361a396177a9c, 0xb410ff61f20015ad]);
        assert_eq!(FileHash::from_words(h.words()), h);
        assert_eq!(text.parse(), Ok(h));
        assert_eq!(serde_json::from_str::<FileHash>(&serde_json::to_string(&h).unwrap()).unwrap(), h);
    }

    #[test]
    fn hashes_of_code_are_of_their_own_kind() {
        // From the BLAKE3 reference: the empty input.
        let h = CodeHash::of(b"");
        let text = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(h.to_string(), text);
        assert_eq!(text.parse(), Ok(h));
        assert_eq!(serde_json::from_str::<CodeHash>(&serde_json::to_string(&h).unwrap()).unwrap(), h);
        assert!(text.parse::<FileHash>().is_err() && text.replace("blake3", "sha256").parse::<CodeHash>().is_err());
    }

    #[test]
    fn only_one_spelling_is_accepted() {
        let text = FileHash::of(b"abc").to_string();
        for bad in [
            String::new(),
            "sha256:".into(),
            text[..70].into(),
            format!("{text}0"),
            text.to_uppercase(),
            text.replace("sha256:", "sha512:"),
            text.replace("ba78", "BA78"),
            text.replace("ba78", "\u{e9}78"),
            text.replace("ba78", "+a78"),
        ] {
            assert!(bad.parse::<FileHash>().is_err(), "{bad}");
        }
    }
}
