//! The layered file system of a container: sealed lower layer, private upper layer, volumes, mounts and path walks.
//!
//! A library without processes, descriptors or threads: the vkernel brings credentials, roots and working directories
//! ([`At`]) to every call.
//!
//! * [`Vfs`] is the tree of mounts: path walks, the operations on names, and *all permission checks*.
//! * [`FileSystem`] and [`Inode`] are what a file system implements; they check no permissions. Here are [`LayeredFs`]
//!   (the image's files below a private layer in memory; without a lower layer it is a tmpfs) and [`Volume`] (a
//!   directory or file of the host).
//! * [`Location`] is a name in use: it goes on telling the right path after renames, and holds the [`Inode`].
//!
//! Errors are Linux's ([`Errno`]), names and paths are bytes, and semantics follow the man pages of the system calls
//! that the methods are named after.

#![forbid(unsafe_code)]

mod budget;
mod content;
mod dentry;
mod errno;
mod inode;
mod layered;
mod lock;
mod lower;
mod sealed;
mod types;
mod vfs;
mod volume;
mod xattr;

pub use budget::{Budget, Charge};
pub use dentry::Location;
pub use errno::{Errno, Result};
pub use inode::{ContentClass, FileSystem, Inode, MapSource, check_name, list_dir};
pub use layered::{Corrupt, CorruptReport, LayeredFs, LayeredOptions};
pub use lower::{LowerInode, LowerTree};
pub use sealed::SealedTree;
pub use types::*;
pub use vfs::{At, MountInfo, Opened, Vfs, WalkFlags, Walked, remove_privileges};
pub use volume::Volume;
