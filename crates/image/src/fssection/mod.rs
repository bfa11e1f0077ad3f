//! The file system section: a container's files as one run of bytes that is at once a tar archive and a file system that can be
//! mapped.
//!
//! All integers are little endian. The section lies in a file at an offset that is a multiple of 512 (better of 4096), and consists of:
//!
//! 1. **A POSIX pax archive** (`man 5 tar`, POSIX.1-2017 `pax`) of all files, depth first, names in byte order, names relative
//!    (`./` is the root, directories end in `/`). The data of every regular file that is not empty begin at a multiple of 4096 *of the
//!    enclosing file*; pax records `comment` make up the distance. The first path of a hard-linked file carries the data,
//!    the others are hard link members. Two blocks of zeros end it. Any tar reader can read it; the running side does not.
//! 2. **The tree index**, below.
//! 3. **The trailer**, 32 bytes: index offset from the start of the section (u64), index length in bytes (u64), 0 (u64),
//!    [`TRAILER_MAGIC`].
//!
//! # Tree index
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`INDEX_MAGIC`] |
//! | 4 | version, 1 |
//! | 4 | number of inodes, I |
//! | 4 | number of directory entries, D |
//! | 4 | 0 |
//! | 8 | bytes of names, N |
//! | 96 I | inodes; number 0 is the root directory |
//! | 12 D | directory entries: those of one directory in a row, in byte order of their names |
//! | N | names: those of the directory entries in their order, then symlink targets in inode order, nothing between them |
//!
//! An inode:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | mode as in `st_mode`: type (`S_IFMT`) and permission bits (07777) |
//! | 4 | 4 | owner |
//! | 8 | 4 | group |
//! | 12 | 4 | links: directory entries that lead here; for a directory 2 and one for each directory in it |
//! | 16 | 8 | time of modification, seconds since 1970 (signed) |
//! | 24 | 4 | nanoseconds |
//! | 28 | 4 | device major number (character and block devices, else 0) |
//! | 32 | 4 | device minor number |
//! | 36 | 4 | directories: inode of the parent directory (of the root: 0); else 0 |
//! | 40 | 8 | regular files: bytes; symlinks: length of the target; directories: number of entries; else 0 |
//! | 48 | 8 | regular files: offset of the data from the start of the section (0 if empty); symlinks: offset of the target in the names; directories: number of the first entry; else 0 |
//! | 56 | 8 | 0 |
//! | 64 | 32 | regular files: SHA-256 of the bytes; else 0 |
//!
//! A directory entry: offset of the name in the names (u32), length of the name (u32), inode (u32). `.` and `..` are not stored.
//!
//! Inodes are numbered in the order in which a depth-first walk in byte order of names first meets them, so a directory has a higher number
//! than its parent, and equal trees have equal indices.
//!
//! # Hash tree
//!
//! The **root** is the SHA-256 of the tree index. It covers everything that the running side looks at: the index is hashed
//! once when it is opened, and contains the hash of each file, which is hashed when the file is first opened ([`Reader::data_matches`]).
//! Files have one hash each; there are no hashes of parts of files. The archive's own headers are not covered (nothing reads them);
//! the hash of the whole file that holds the section covers these too.
//!
//! The **tree digest** (`Rootfs::tree_digest`), which names a container without an image config, is the SHA-256 of the same index with all data
//! offsets 0: it depends on the tree alone, not on where the data lie.
//!
//! # What a mapping shows
//!
//! The bytes from the end of a file to the end of its last page are those of the next member's header, not zeros as Linux shows them, and
//! no hash in the tree covers them: a tar archive leaves no room for zeros there. Who maps a file for a guest maps its whole pages, and copies a last
//! partial page into one of zeros ([`Reader::whole_pages`]).

mod reader;
#[cfg(feature = "read")]
mod writer;

pub use reader::{DirEntry, InodeInfo, Reader};
#[cfg(feature = "read")]
pub(crate) use writer::encode_index;
#[cfg(feature = "read")]
pub use writer::{Plan, Summary, write};

/// First bytes of the tree index.
pub const INDEX_MAGIC: [u8; 8] = *b"mlfs-idx";
/// Last bytes of the section.
pub const TRAILER_MAGIC: [u8; 8] = *b"mlfs-end";
/// Version of the tree index.
pub const VERSION: u32 = 1;
/// Every regular file's data begin at a multiple of this in the enclosing file.
pub const DATA_ALIGN: u64 = 4096;
/// The section's offset in the enclosing file is a multiple of this (a tar block).
pub const OFFSET_ALIGN: u64 = 512;
/// Number of the root directory's inode.
pub const ROOT: u32 = 0;

const HEADER: usize = 32;
const INODE: usize = 96;
const DIRENT: usize = 12;
const TRAILER: usize = 32;
