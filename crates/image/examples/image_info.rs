//! Reads an image, writes its file system section to a file, reads that back and checks all of it: `image_info IMAGE [SECTION]`.

use megalith_image::fssection::{Plan, Reader};
use std::error::Error;
use std::io::Write;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let path = args.next().ok_or("usage: image_info IMAGE [SECTION]")?;
    let clock = Instant::now();
    let image = megalith_image::open(&path)?;
    let fs = &image.rootfs;
    println!("{:?}, container {}", image.format, image.container_id);
    println!("{} files, {} bytes, {} executables", fs.node_count(), fs.data_size(), fs.executables().len());
    println!("{:?}", image.config.to_manifest());
    image.notes.iter().for_each(|note| println!("note: {note}"));
    println!("read in {:?}", clock.elapsed());
    let Some(out) = args.next() else { return Ok(()) };
    let clock = Instant::now();
    let plan = Plan::new(fs, 0)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(&out)?);
    plan.write(&mut file)?;
    file.flush()?;
    println!("written in {:?}: {:?}", clock.elapsed(), plan.summary());
    let bytes = std::fs::read(&out)?;
    let clock = Instant::now();
    let reader = Reader::open(&*bytes, &plan.summary().root)?;
    println!("opened in {:?}", clock.elapsed());
    let clock = Instant::now();
    reader.check()?;
    let wrong = (0..reader.inode_count()).filter(|id| reader.hash(*id).is_some() && !reader.data_matches(*id)).count();
    println!("checked in {:?}: {wrong} files are wrong", clock.elapsed());
    Ok(())
}
