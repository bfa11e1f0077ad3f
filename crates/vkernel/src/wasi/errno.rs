//! Linux error numbers as WASI preview 1 numbers them.

use crate::errno::Errno;

macro_rules! map {
    ($($linux:ident => $wasi:literal,)*) => {
        /// The number for WASI code. What preview 1 has no number for becomes `io`.
        pub(super) fn number(e: Errno) -> u16 {
            $(if e == Errno::$linux { return $wasi; })*
            29
        }
        #[cfg(test)]
        const ALL: &[(Errno, u16)] = &[$((Errno::$linux, $wasi),)*];
    };
}

map! {
    ENOENT => 44, EACCES => 2, EBADF => 8, EAGAIN => 6, EEXIST => 20, ENOTDIR => 54, EISDIR => 31, EINVAL => 28, EFAULT => 21,
    E2BIG => 1, EADDRINUSE => 3, EADDRNOTAVAIL => 4, EAFNOSUPPORT => 5, EALREADY => 7, EBADMSG => 9, EBUSY => 10, ECANCELED => 11,
    ECHILD => 12, ECONNABORTED => 13, ECONNREFUSED => 14, ECONNRESET => 15, EDEADLK => 16, EDESTADDRREQ => 17, EDOM => 18, EDQUOT => 19,
    EFBIG => 22, EHOSTUNREACH => 23, EIDRM => 24, EILSEQ => 25, EINPROGRESS => 26, EINTR => 27, EIO => 29, EISCONN => 30, ELOOP => 32,
    EMFILE => 33, EMLINK => 34, EMSGSIZE => 35, EMULTIHOP => 36, ENAMETOOLONG => 37, ENETDOWN => 38, ENETRESET => 39, ENETUNREACH => 40,
    ENFILE => 41, ENOBUFS => 42, ENODEV => 43, ENOEXEC => 45, ENOLCK => 46, ENOLINK => 47, ENOMEM => 48, ENOMSG => 49, ENOPROTOOPT => 50,
    ENOSPC => 51, ENOSYS => 52, ENOTCONN => 53, ENOTEMPTY => 55, ENOTRECOVERABLE => 56, ENOTSOCK => 57, EOPNOTSUPP => 58, ENOTTY => 59,
    ENXIO => 60, EOVERFLOW => 61, EOWNERDEAD => 62, EPERM => 63, EPIPE => 64, EPROTO => 65, EPROTONOSUPPORT => 66, EPROTOTYPE => 67,
    ERANGE => 68, EROFS => 69, ESPIPE => 70, ESRCH => 71, ESTALE => 72, ETIMEDOUT => 73, ETXTBSY => 74, EXDEV => 75,
}

/// Names of preview 1's error numbers, by number.
const NAMES: [&str; 77] = [
    "success",
    "2big",
    "acces",
    "addrinuse",
    "addrnotavail",
    "afnosupport",
    "again",
    "already",
    "badf",
    "badmsg",
    "busy",
    "canceled",
    "child",
    "connaborted",
    "connrefused",
    "connreset",
    "deadlk",
    "destaddrreq",
    "dom",
    "dquot",
    "exist",
    "fault",
    "fbig",
    "hostunreach",
    "idrm",
    "ilseq",
    "inprogress",
    "intr",
    "inval",
    "io",
    "isconn",
    "isdir",
    "loop",
    "mfile",
    "mlink",
    "msgsize",
    "multihop",
    "nametoolong",
    "netdown",
    "netreset",
    "netunreach",
    "nfile",
    "nobufs",
    "nodev",
    "noent",
    "noexec",
    "nolck",
    "nolink",
    "nomem",
    "nomsg",
    "noprotoopt",
    "nospc",
    "nosys",
    "notconn",
    "notdir",
    "notempty",
    "notrecoverable",
    "notsock",
    "notsup",
    "notty",
    "nxio",
    "overflow",
    "ownerdead",
    "perm",
    "pipe",
    "proto",
    "protonosupport",
    "prototype",
    "range",
    "rofs",
    "spipe",
    "srch",
    "stale",
    "timedout",
    "txtbsy",
    "xdev",
    "notcapable",
];

/// Name of a preview 1 error number.
pub(super) fn name(n: u16) -> &'static str {
    NAMES.get(usize::from(n)).copied().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_its_namesake() {
        for &(e, n) in ALL {
            assert_eq!(number(e), n);
            let linux = e.name().unwrap().strip_prefix('E').unwrap().to_lowercase();
            let wasi = if n == 58 { "opnotsupp" } else { name(n) };
            assert_eq!(linux, wasi);
        }
        // All of preview 1's but success and notcapable can be given.
        assert_eq!(ALL.len(), NAMES.len() - 2);
        assert_eq!(number(Errno::EUCLEAN), 29);
    }
}
