use std::fmt;
use std::io;

/// Why an image or a file system section was refused: one line without control characters that names what, which file or member, and why.
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

    /// Puts `what: ` in front.
    #[cfg(feature = "read")]
    pub(crate) fn of(self, what: impl fmt::Display) -> Error {
        Error::new(format_args!("{what}: {}", self.0))
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

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        // Our own errors travel through `Read` as the inner error of an `io::Error`.
        match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
            Some(own) => own.clone(),
            None => Error::new(error),
        }
    }
}

#[cfg(feature = "read")]
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// A path or name for a message: escaped, and cut at 200 bytes.
#[cfg(feature = "read")]
pub(crate) fn shown(path: &[u8]) -> String {
    let cut = path.get(..200).unwrap_or(path);
    format!("'{}{}'", megalith_manifest::escape(cut), if cut.len() < path.len() { "..." } else { "" })
}
