//! `#!` lines: build and run must agree on what interprets a script (`man 2 execve`, `fs/binfmt_script.c`), and on what env(1) is asked for there.

/// Bytes of a file in which Linux looks for the end of the line (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 256;

/// PATH where nobody sets one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a command without a slash is looked for, in this order, given `NAME=VALUE` strings.
pub fn candidates(command: &[u8], env: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    let path = env.iter().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH.as_bytes());
    path.split(|&c| c == b':').map(move |dir| [if dir.is_empty() { b"." } else { dir }, b"/", command].concat())
}

/// What a `#!` line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interpreter {
    pub path: Vec<u8>,
    /// The rest of the line, in one piece.
    pub arg: Option<Vec<u8>>,
}

/// A command that `#!/usr/bin/env` is to start, and how the environment is changed for it (env(1)).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EnvCommand {
    /// Starts with an empty environment.
    pub clear: bool,
    /// Names that are removed.
    pub unset: Vec<Vec<u8>>,
    /// `NAME=VALUE`.
    pub set: Vec<Vec<u8>>,
    /// Looked for in PATH when it has no slash.
    pub command: Vec<u8>,
    /// Arguments before the script's path.
    pub args: Vec<Vec<u8>>,
}

/// The line that `file` begins with; `None` when there is none, it names nothing, or the name may be cut off.
pub fn interpreter(file: &[u8]) -> Option<Interpreter> {
    let rest = file.strip_prefix(b"#!")?;
    let buffer = rest.get(..LINE_MAX - 2).unwrap_or(rest);
    // Without an end in the buffer, its last byte only tells whether a name in front of it is whole.
    let (line, whole) = match (buffer.iter().position(|&c| c == b'\n' || c == 0), buffer.get(LINE_MAX - 3)) {
        (Some(end), _) => (buffer.get(..end)?, true),
        (None, Some(&last)) => (buffer.get(..LINE_MAX - 3)?, is_blank(last)),
        (None, None) => (buffer, true),
    };
    let line = trim(line);
    let end = line.iter().position(|&c| is_blank(c));
    let path = line.get(..end.unwrap_or(line.len()))?;
    if path.is_empty() || end.is_none() && !whole {
        return None;
    }
    let arg = trim(line.get(path.len()..)?);
    Some(Interpreter { path: path.to_vec(), arg: (!arg.is_empty()).then(|| arg.to_vec()) })
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t')
}

fn trim(mut s: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = s
        && is_blank(*first)
    {
        s = rest;
    }
    while let [rest @ .., last] = s
        && is_blank(*last)
    {
        s = rest;
    }
    s
}

impl Interpreter {
    /// What env(1) would start, if that is the interpreter and the line asks for nothing else of it. Variables in `-S` are left to env itself, as are a directory to
    /// start in, and messages.
    pub fn env_command(&self) -> Option<EnvCommand> {
        if !matches!(&*self.path, b"/usr/bin/env" | b"/bin/env") {
            return None;
        }
        let arg = self.arg.as_deref()?;
        let split = arg.strip_prefix(b"-S").or_else(|| arg.strip_prefix(b"--split-string="));
        // Without -S the rest of the line is one argument, blanks and all.
        let words = match split {
            Some(s) => split_string(s)?,
            None => vec![arg.to_vec()],
        };
        let mut e = EnvCommand::default();
        let mut words = words.iter();
        let mut options = true;
        while let Some(w) = words.next() {
            match &**w {
                b"--" if options => options = false,
                b"-i" | b"-" | b"--ignore-environment" if options => e.clear = true,
                b"-u" if options => e.unset.push(words.next()?.to_vec()),
                w if options && w.starts_with(b"-") => {
                    e.unset.push(w.strip_prefix(b"--unset=").or_else(|| w.strip_prefix(b"-u"))?.to_vec());
                }
                w if w.contains(&b'=') => {
                    options = false;
                    e.set.push(w.to_vec());
                }
                w => {
                    e.command = w.to_vec();
                    e.args = words.cloned().collect();
                    return Some(e);
                }
            }
        }
        None
    }
}

/// The words of what `-S` has (GNU coreutils' manual, "env invocation"). `None`: it has variables, or is wrong, which env says.
fn split_string(s: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = s.iter().copied();
    while let Some(c) = bytes.next() {
        match (c, quote) {
            (b'\'' | b'"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(q)) if c == q => quote = None,
            (b'$', None | Some(b'"')) => return None,
            (b'#', None) if word.is_none() => break,
            (b'\\', q) => match (bytes.next()?, q) {
                (c @ (b'\\' | b'\''), Some(b'\'')) => word.get_or_insert_default().push(c),
                (c, Some(b'\'')) => word.get_or_insert_default().extend([b'\\', c]),
                (b'c', None) => break,
                (b'_', None) => words.extend(word.take()),
                (c, _) => {
                    let meant = match c {
                        b'_' => b' ',
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'v' => 0x0b,
                        b'#' | b'$' | b'"' | b'\'' | b'\\' => c,
                        _ => return None,
                    };
                    word.get_or_insert_default().push(meant);
                }
            },
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// NAME of `NAME=VALUE`.
fn name(pair: &[u8]) -> &[u8] {
    pair.split(|&c| c == b'=').next().unwrap_or_default()
}

impl EnvCommand {
    /// The environment for the command, made of `NAME=VALUE` strings.
    pub fn environment(&self, from: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let gone = |pair: &Vec<u8>| {
            let n = name(pair);
            self.unset.iter().any(|u| u == n) || self.set.iter().any(|s| name(s) == n)
        };
        let kept = from.iter().filter(|pair| !self.clear && !gone(pair)).cloned();
        kept.chain(self.set.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(s: &str) -> Option<(String, Option<String>)> {
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        interpreter(s.as_bytes()).map(|i| (text(i.path), i.arg.map(text)))
    }

    #[test]
    fn lines() {
        let is = |s: &str, path: &str, arg: Option<&str>| {
            assert_eq!(line(s), Some((path.into(), arg.map(Into::into))), "{s}");
        };
        is("#!/bin/sh\necho", "/bin/sh", None);
        is("#!/bin/sh", "/bin/sh", None);
        is("#! \t/usr/bin/env\tpython3 -x \n", "/usr/bin/env", Some("python3 -x"));
        is(&format!("#!/bin/sh {}", "x".repeat(300)), "/bin/sh", Some(&"x".repeat(245)));
        for bad in ["#!\n/bin/sh", "#!", "#", "", "echo\n", &format!("#!/{}", "x".repeat(300)), "#! \t \n"] {
            assert_eq!(line(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn env_is_understood() {
        let command = |s: &str| interpreter(format!("#!/usr/bin/env {s}\n").as_bytes()).and_then(|i| i.env_command());
        let words = |s: &[&str]| s.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let python = EnvCommand { command: b"python3".to_vec(), ..EnvCommand::default() };
        assert_eq!(command("python3"), Some(python.clone()));
        assert_eq!(command("python3 -u"), Some(EnvCommand { command: b"python3 -u".to_vec(), ..python.clone() }));
        assert_eq!(
            command("-S -i -u A --unset=B -- C=1 PATH=/x python3 -u -"),
            Some(EnvCommand {
                clear: true,
                unset: words(&["A", "B"]),
                set: words(&["C=1", "PATH=/x"]),
                args: words(&["-u", "-"]),
                ..python
            })
        );
        let args = |s: &str| command(s).map(|e| (e.set, e.command, e.args)).unwrap_or_default();
        let python = |set: &[&str], args: &[&str]| (words(set), b"python3".to_vec(), words(args));
        assert_eq!(
            args(r#"-S A='x y' python3 "-c" 'a\n"\'b' "c\_\td""#),
            python(&["A=x y"], &["-c", "a\\n\"'b", "c \td"])
        );
        assert_eq!(args(r"-S python3\_-u \# a#b '' # never"), python(&[], &["-u", "#", "a#b", ""]));
        assert_eq!(args(r"-S python3 -u\c never"), python(&[], &["-u"]));
        for left in [
            "",
            "-S",
            "-S 'a b",
            "-S a$B",
            "-S \"${A}\" x",
            r"-S a\q",
            r"-S a\",
            "-v",
            "-S -v x",
            "-S -C /tmp x",
            "A=1",
            "-S -u",
        ] {
            assert_eq!(command(left), None, "{left}");
        }
        assert_eq!(interpreter(b"#!/bin/sh x\n").and_then(|i| i.env_command()), None);
    }

    #[test]
    fn places_of_commands() {
        let at = |env: &[Vec<u8>]| {
            candidates(b"x", env).map(|c| String::from_utf8_lossy(&c).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(at(&[b"A=1".to_vec(), b"PATH=/a::b/".to_vec()]), ["/a/x", "./x", "b//x"]);
        assert_eq!(at(&[]).last().map(String::as_str), Some("/bin/x"));
    }

    #[test]
    fn environments() {
        let words = |s: &[&str]| s.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let mut e = EnvCommand { unset: words(&["A"]), set: words(&["B=2"]), ..EnvCommand::default() };
        let from = words(&["A=1", "AA=1", "B=1", "C"]);
        assert_eq!(e.environment(&from), words(&["AA=1", "C", "B=2"]));
        e.clear = true;
        assert_eq!(e.environment(&from), words(&["B=2"]));
    }
}
