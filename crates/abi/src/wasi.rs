//! What the linker, the engine and the vkernel agree on about ready-made WASI modules.

use crate::{ADDR_LIMIT, PAGE_SIZE};

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

/// The linear memory that a WASI program starts with, as far as its data segments fill it: what `aot/<target>/*.meta` holds for one.
///
/// The file has one page of header ([`DataImage::MAGIC`], then the address as a little-endian u64, then zeros), and the bytes follow, so that they can be
/// mapped from it. A program without static data has the header alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataImage {
    /// Where the bytes go in the linear memory: a multiple of the page size.
    pub address: u64,
    /// A multiple of the page size of them.
    pub bytes: Vec<u8>,
}

impl DataImage {
    /// First bytes of the file.
    pub const MAGIC: &[u8; 16] = b"megalith-image/1";
    /// Bytes before the image's own.
    pub const HEADER: usize = PAGE_SIZE as usize;

    /// The file's contents.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = Self::MAGIC.to_vec();
        file.extend_from_slice(&self.address.to_le_bytes());
        file.resize(Self::HEADER, 0);
        file.extend_from_slice(&self.bytes);
        file
    }

    /// Address and length of the image in a file of `size` bytes that begins with `header`; `None` when it is no such file, or the image would not
    /// lie in a linear memory.
    pub fn place(header: &[u8], size: u64) -> Option<(u64, u64)> {
        let address = header.strip_prefix(Self::MAGIC)?.get(..8)?;
        let address = u64::from_le_bytes(address.try_into().ok()?);
        let len = size.checked_sub(Self::HEADER as u64)?;
        let page = u64::from(PAGE_SIZE);
        let fits = address.checked_add(len).is_some_and(|end| end <= u64::from(ADDR_LIMIT));
        (address % page == 0 && len % page == 0 && fits).then_some((address, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_files_say_where_they_go() {
        let image = DataImage { address: 0x3000, bytes: vec![7; 0x2000] };
        let file = image.to_file();
        assert_eq!(DataImage::place(&file, file.len() as u64), Some((0x3000, 0x2000)));
        assert_eq!(file[DataImage::HEADER..], image.bytes);
        assert_eq!(DataImage::place(&file, file.len() as u64 - 1), None);
        assert_eq!(DataImage::place(&file, 10), None);
        assert_eq!(DataImage::place(b"megalith-image/2", 4096), None);
        let high = DataImage { address: 0xffff_f000, bytes: vec![0; 4096] }.to_file();
        assert_eq!(DataImage::place(&high, high.len() as u64), None);
    }

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
