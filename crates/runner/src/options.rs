//! The command line of `run`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Options and arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// Directory that `megalith build` wrote
    pub bundle: PathBuf,
    #[command(flatten)]
    pub container: ContainerOptions,
    /// Start this program in place of the image's entrypoint
    #[arg(long, value_name = "PATH")]
    pub entrypoint: Option<String>,
    /// Start the tool of that name, and nothing else (`megalith tools BUNDLE call`)
    #[arg(long, value_name = "NAME", hide = true, conflicts_with = "entrypoint")]
    pub tool: Option<String>,
    /// Start the program with fixed clocks and randomness, and write its snapshot to that file (`megalith build`)
    #[arg(long, value_name = "FILE", hide = true)]
    pub snapshot: Option<PathBuf>,
    /// Program to start and its arguments; without them the image's own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// The part of them that says what a container is like, whatever starts in it.
#[derive(Args, Clone, Debug)]
pub struct ContainerOptions {
    /// Accepted as docker's; standard input is always the command's own
    #[arg(short = 'i', long)]
    pub interactive: bool,
    /// Give the program a terminal (standard input must be one)
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Set an environment variable; without `=VALUE`, take over the caller's
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Show a directory or file of the host in the container
    #[arg(short = 'v', long = "volume", value_name = "HOST:GUEST[:ro]", value_parser = Volume::parse)]
    pub volumes: Vec<Volume>,
    /// Start in this directory
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run as this user: name or uid, optionally `:` and group name or gid
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Let programs connect to this host and port by TCP, and to nothing else outside; `localhost` is host.docker.internal inside
    #[arg(long, value_name = "HOST:PORT", value_parser = Place::parse)]
    pub net: Vec<Place>,
    /// Host name that programs see
    #[arg(long, value_name = "NAME", default_value = "megalith")]
    pub hostname: String,
    /// Refuse writes to the container's files (volumes and /tmp apart)
    #[arg(long)]
    pub read_only: bool,
    /// Limit of memory, all processes and files in memory together, in bytes or with suffix k, m, g
    #[arg(long, value_name = "N", value_parser = bytes)]
    pub memory: Option<u64>,
    /// End the container after so many seconds (exit status 124)
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Limit of the number of processes
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=32768))]
    pub pids_limit: u32,
    /// Print every system call to standard error
    #[arg(long)]
    pub strace: bool,
}

/// `HOST:GUEST[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Directory or file of the host.
    pub host: PathBuf,
    /// Absolute path in the container.
    pub guest: String,
    pub read_only: bool,
}

impl Volume {
    fn parse(s: &str) -> Result<Volume, String> {
        let (rest, read_only) = match s.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (s.strip_suffix(":rw").unwrap_or(s), false),
        };
        match rest.rsplit_once(':') {
            Some((host, guest)) if !host.is_empty() && guest.starts_with('/') && guest.len() > 1 => {
                Ok(Volume { host: host.into(), guest: guest.into(), read_only })
            }
            _ => Err("not of the form HOST:GUEST[:ro] with an absolute GUEST other than '/'".into()),
        }
    }
}

/// `HOST:PORT`, with brackets around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address.
    pub host: String,
    pub port: u16,
}

impl Place {
    fn parse(s: &str) -> Result<Place, String> {
        let wrong = || "not of the form HOST:PORT".to_string();
        let (host, port) = s.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.filter(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()).ok_or_else(wrong)?,
            None => host,
        };
        // It becomes a name in /etc/hosts.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(plain) || host.contains(':') && !s.starts_with('[') {
            return Err(wrong());
        }
        let port = port.parse().ok().filter(|p| *p != 0).ok_or("the port is no number from 1 to 65535")?;
        Ok(Place { host: host.into(), port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn bytes(s: &str) -> Result<u64, String> {
    let lower = s.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['b', 'i']);
    let (digits, shift) = match digits.char_indices().last() {
        Some((at, 'k')) => (digits.get(..at).unwrap_or_default(), 10),
        Some((at, 'm')) => (digits.get(..at).unwrap_or_default(), 20),
        Some((at, 'g')) => (digits.get(..at).unwrap_or_default(), 30),
        _ => (digits, 0),
    };
    let n: u64 = digits.parse().map_err(|_| "not a number of bytes such as 67108864 or 64m".to_string())?;
    n.checked_mul(1 << shift).filter(|&n| n > 0).ok_or_else(|| "out of range".into())
}

fn seconds(s: &str) -> Result<Duration, String> {
    let n: f64 = s.parse().map_err(|_| "not a number of seconds".to_string())?;
    Duration::try_from_secs_f64(n).ok().filter(|d| !d.is_zero()).ok_or_else(|| "out of range".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunOptions,
    }

    fn parse(args: &[&str]) -> Result<RunOptions, clap::Error> {
        Cli::try_parse_from([&["run"], args].concat()).map(|c| c.run)
    }

    #[test]
    fn everything_after_the_program_is_its_own() {
        let o =
            parse(&["-i", "b", "-t", "--memory", "64m", "--timeout=1.5", "--", "/bin/ls", "-l", "--", "-t"]).unwrap();
        let c = &o.container;
        assert!(c.tty && c.interactive);
        assert_eq!((c.memory, c.timeout), (Some(64 << 20), Some(Duration::from_millis(1500))));
        assert_eq!(o.command, ["/bin/ls", "-l", "--", "-t"]);
        assert_eq!(parse(&["b", "ls", "-t"]).unwrap().command, ["ls", "-t"]);
    }

    #[test]
    fn volumes() {
        let o = parse(&["-v", "/a:b:/c:ro", "-v", "d:/e", "b"]).unwrap();
        assert_eq!(o.container.volumes[0], Volume { host: "/a:b".into(), guest: "/c".into(), read_only: true });
        assert!(!o.container.volumes[1].read_only);
        for bad in ["x", "x:y", ":/y", "x:/"] {
            assert!(parse(&["-v", bad, "b"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn places() {
        let o = parse(&["--net", "example.org:443", "--net", "[::1]:80", "--net=10.1.2.3:1", "b"]).unwrap();
        let shown: Vec<_> = o.container.net.iter().map(Place::to_string).collect();
        assert_eq!(shown, ["example.org:443", "[::1]:80", "10.1.2.3:1"]);
        for bad in ["", "x", "x:", ":80", "x:0", "x:65536", "::1:80", "[x]:80", "[::1:80", "a b:80", "a\nb:80", "x:-1"]
        {
            assert!(parse(&["--net", bad, "b"]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        for bad in ["", "0", "-1", "1x", "18446744073709551615g", "k"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "nan", "inf", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
