//! Guest memory: slots, address spaces, checked access, the code map.

mod budget;
mod image;
mod scan;
mod slot;
mod snapshot;
mod space;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use image::{StartImage, remembered};
pub use scan::prepare;
pub use slot::{GUARD_SIZE, MEMORY0_SIZE, MEMORY1_SIZE, RESERVED, Slot, SlotPool};
pub use snapshot::Area;
pub use space::{AddressSpace, Backing, HostFile, Label, MapRequest, MapSource, PAGE, Prot, Vma};
