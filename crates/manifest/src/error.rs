use std::fmt;

/// Why a manifest, an AOT index or one of the values in them was refused.
///
/// The message is one line without control characters: it names the key and the value that is wrong and says why. It does not name the file,
/// which this crate never sees; the caller puts that in front.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl fmt::Display) -> Error {
        let mut line = String::new();
        for c in message.to_string().chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        Error(line)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// At most 80 characters of a value from outside, for a message.
pub(crate) fn excerpt(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("'{}...'", &value[..end]),
        None => format!("'{value}'"),
    }
}
