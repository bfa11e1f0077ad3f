/// Type of a file, as in the `S_IFMT` bits of `st_mode` (`man 7 inode`). Sockets do not occur in images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    Fifo,
    CharDevice,
    Directory,
    BlockDevice,
    Regular,
    Symlink,
}

impl FileType {
    /// The `S_IFMT` bits.
    pub fn bits(self) -> u32 {
        match self {
            FileType::Fifo => 0o010000,
            FileType::CharDevice => 0o020000,
            FileType::Directory => 0o040000,
            FileType::BlockDevice => 0o060000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
        }
    }

    /// The type in the `S_IFMT` bits of `mode`.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        use FileType::*;
        [Fifo, CharDevice, Directory, BlockDevice, Regular, Symlink].into_iter().find(|t| t.bits() == mode & 0o170000)
    }
}
