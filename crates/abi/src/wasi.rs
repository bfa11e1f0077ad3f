//! What the linker, the engine and the vkernel agree on about ready-made WASI modules.

/// The only module that WASI modules may import from.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Function of module [`crate::VKERNEL_MODULE`], `() -> ()`, that a projection of a WASI module calls when it finds the poll word set. Compilers
/// of WASI modules know nothing of polls: the linker puts them into the projection, at loop heads and on entry of functions that make calls.
pub const WASI_POLL: &str = "poll";

/// Functions of WASI preview 1 (`wasi_snapshot_preview1.witx`): name, parameters, results (`i`: i32, `l`: i64).
pub const WASI_IMPORTS: &[(&str, &str, &str)] = &[
    ("args_get", "ii", "i"),
    ("args_sizes_get", "ii", "i"),
    ("environ_get", "ii", "i"),
    ("environ_sizes_get", "ii", "i"),
    ("clock_res_get", "ii", "i"),
    ("clock_time_get", "ili", "i"),
    ("fd_advise", "illi", "i"),
    ("fd_allocate", "ill", "i"),
    ("fd_close", "i", "i"),
    ("fd_datasync", "i", "i"),
    ("fd_fdstat_get", "ii", "i"),
    ("fd_fdstat_set_flags", "ii", "i"),
    ("fd_fdstat_set_rights", "ill", "i"),
    ("fd_filestat_get", "ii", "i"),
    ("fd_filestat_set_size", "il", "i"),
    ("fd_filestat_set_times", "illi", "i"),
    ("fd_pread", "iiili", "i"),
    ("fd_prestat_get", "ii", "i"),
    ("fd_prestat_dir_name", "iii", "i"),
    ("fd_pwrite", "iiili", "i"),
    ("fd_read", "iiii", "i"),
    ("fd_readdir", "iiili", "i"),
    ("fd_renumber", "ii", "i"),
    ("fd_seek", "ilii", "i"),
    ("fd_sync", "i", "i"),
    ("fd_tell", "ii", "i"),
    ("fd_write", "iiii", "i"),
    ("path_create_directory", "iii", "i"),
    ("path_filestat_get", "iiiii", "i"),
    ("path_filestat_set_times", "iiiilli", "i"),
    ("path_link", "iiiiiii", "i"),
    ("path_open", "iiiiillii", "i"),
    ("path_readlink", "iiiiii", "i"),
    ("path_remove_directory", "iii", "i"),
    ("path_rename", "iiiiii", "i"),
    ("path_symlink", "iiiii", "i"),
    ("path_unlink_file", "iii", "i"),
    ("poll_oneoff", "iiii", "i"),
    ("proc_exit", "i", ""),
    ("proc_raise", "i", "i"),
    ("sched_yield", "", "i"),
    ("random_get", "ii", "i"),
    ("sock_accept", "iii", "i"),
    ("sock_recv", "iiiiii", "i"),
    ("sock_send", "iiiii", "i"),
    ("sock_shutdown", "ii", "i"),
];

/// Parameters that a function of [`WASI_IMPORTS`] has at most.
pub const WASI_MAX_ARGS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        assert_eq!(WASI_IMPORTS.len(), 46);
        assert!(WASI_IMPORTS.iter().all(|(_, p, r)| p.len() <= WASI_MAX_ARGS && r.len() <= 1));
        let mut names: Vec<_> = WASI_IMPORTS.iter().map(|f| f.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 46);
    }
}
