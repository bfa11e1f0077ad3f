//! Container images, in and out of a bundle.
//!
//! * [`open`] reads an image (OCI layout, docker-archive or root directory) into a [`Rootfs`] and an [`ImageConfig`].
//! * [`fssection`] writes a `Rootfs` as the file system section of a bundle, and reads that section in place.
//!
//! With `default-features = false` only [`fssection::Reader`] is left, for the running side, without any of the libraries that
//! reading images takes.

mod error;
mod filetype;
pub mod fssection;

pub use error::Error;
pub use filetype::FileType;

#[cfg(feature = "read")]
mod config;
#[cfg(feature = "read")]
mod directory;
#[cfg(feature = "read")]
mod docker;
#[cfg(feature = "read")]
mod image;
#[cfg(feature = "read")]
mod layer;
#[cfg(feature = "read")]
mod oci;
#[cfg(feature = "read")]
mod rootfs;
#[cfg(feature = "read")]
mod source;
#[cfg(feature = "read")]
mod spool;
#[cfg(feature = "read")]
mod stream;
#[cfg(feature = "read")]
mod tarball;
#[cfg(feature = "read")]
mod tree;

#[cfg(feature = "read")]
pub use image::{Format, Image, ImageConfig, Options, open, open_with};
#[cfg(feature = "read")]
pub use rootfs::{Added, Directory, Iter, Meta, Node, NodeId, NodeKind, Regular, Rootfs};
#[cfg(feature = "read")]
pub use tree::Builder;
