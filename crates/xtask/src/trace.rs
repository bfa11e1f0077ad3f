//! Reads `strace -f` output for the no-JIT proof: which calls made memory executable, and when.

/// What a trace showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Calls that yield memory both writable and executable, at any time.
    pub writable: Vec<String>,
    /// Calls that yield executable memory after the seccomp filter was installed (the end of start-up).
    pub late: Vec<String>,
    /// Calls that yield executable memory before that.
    pub early: usize,
    /// Whether a seccomp filter was installed at all.
    pub sealed: bool,
    /// System calls seen.
    pub calls: usize,
}

/// Options for strace that give what [`executable`] reads.
pub const STRACE: &[&str] = &[
    "-f",
    "-qq",
    "-e",
    "trace=mmap,mprotect,pkey_mprotect,mremap,shmat,personality,seccomp,prctl,execve,execveat",
    "-e",
    "signal=none",
];

/// Judges the lines of a trace. A refused call (`= -1`) yields nothing.
pub fn executable(trace: &str) -> Executable {
    let mut found = Executable::default();
    // Threads interleave: "call(args <unfinished ...>" and later "<... call resumed>rest". Joined by thread.
    let mut unfinished: std::collections::HashMap<&str, String> = std::collections::HashMap::new();
    for line in trace.lines() {
        let (thread, text) = match line.split_once(' ') {
            Some((pid, rest)) if pid.bytes().all(|b| b.is_ascii_digit()) => (pid, rest.trim_start()),
            _ => ("", line),
        };
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, start.to_owned());
            continue;
        }
        let whole = match text.strip_prefix("<... ").and_then(|t| t.split_once(" resumed>")) {
            Some((_, rest)) => unfinished.remove(thread).unwrap_or_default() + rest,
            None => text.to_owned(),
        };
        judge(&whole, line, &mut found);
    }
    found
}

fn judge(call: &str, line: &str, found: &mut Executable) {
    let Some((name, arguments)) = call.split_once('(') else { return };
    if call.contains(") = -1 ") || call.contains(")  = -1 ") || call.trim_end().ends_with("= ?") {
        return;
    }
    found.calls += 1;
    match name {
        "seccomp" if arguments.contains("SECCOMP_SET_MODE_FILTER") => found.sealed = true,
        "prctl" if arguments.contains("PR_SET_SECCOMP") => found.sealed = true,
        // A new program image starts up anew (`megalith run` starts the runner).
        "execve" | "execveat" => found.sealed = false,
        "mmap" | "mprotect" | "pkey_mprotect" if arguments.contains("PROT_EXEC") => {
            if arguments.contains("PROT_WRITE") {
                found.writable.push(line.to_owned());
            }
            if found.sealed {
                found.late.push(line.to_owned());
            } else {
                found.early += 1;
            }
        }
        "shmat" if arguments.contains("SHM_EXEC") => found.late.push(line.to_owned()),
        // READ_IMPLIES_EXEC makes every readable mapping executable. Asking (0xffffffff) changes nothing.
        "personality" if arguments.contains("READ_IMPLIES_EXEC") => found.writable.push(line.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_run_is_clean() {
        let found = executable(
            "10 execve(\"/x\", [\"x\"], 0x1 /* 2 vars */) = 0\n\
             10 mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7f0000000000\n\
             10 seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, {len=4, filter=0x1}) = 0\n\
             11 mprotect(0x1000, 4096, PROT_READ|PROT_EXEC) = -1 EPERM (Operation not permitted)\n\
             11 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000001000\n",
        );
        assert_eq!((found.writable.len(), found.late.len(), found.early, found.sealed), (0, 0, 1, true));
    }

    #[test]
    fn executable_pages_are_found_also_in_calls_that_were_interrupted() {
        let found = executable(
            "10 prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {len=4, filter=0x1}) = 0\n\
             10 mprotect(0x1000, 4096, PROT_READ|PROT_EXEC <unfinished ...>\n\
             11 mmap(NULL, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x7f0000000000\n\
             10 <... mprotect resumed>) = 0\n\
             11 personality(READ_IMPLIES_EXEC) = 0\n",
        );
        assert_eq!((found.writable.len(), found.late.len()), (2, 2));
    }
}
