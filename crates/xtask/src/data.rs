//! Real-data inputs: tens of MB, the same on every machine and every run, made once and kept in Cargo's target directory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{paths, sh};

/// Changes when what this module writes changes.
const REVISION: &str = "data-2";

/// Lines of `lines`, what `sort` gets.
pub const LINES: usize = 400_000;

/// The directory with the inputs:
///
/// | name | what |
/// |---|---|
/// | `text` | 32 MiB of prose-like lines |
/// | `lines` | 400,000 lines of words and numbers, unsorted |
/// | `numbers` | 200,000 lines of `key<TAB>integer<TAB>fraction` |
/// | `binary` | 16 MiB that do not compress |
/// | `text.gz`, `text.bz2`, `text.xz` | `text`, compressed by the host's tools |
/// | `small`, `small.gz`... | the first 2 MiB of `text`, and compressed |
/// | `tree/` | 2,000 small files in 100 directories |
///
/// # Errors
/// The directory cannot be written, or a compressor is missing.
pub fn directory() -> Result<PathBuf> {
    // Not in the cache: a container may not have a volume in there.
    let dir = paths::target().join("test-data").join(REVISION);
    paths::make_once(&dir, |dir| {
        eprintln!("xtask: making test data in {}", dir.display());
        fill(dir)
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, fixed, good enough for test data.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next_u64() % n.max(1) as u64).unwrap_or_default()
    }
}

fn fill(dir: &Path) -> Result<()> {
    let mut random = Random(2);
    let words = vocabulary(&mut random);
    let file = |name: &str| -> Result<BufWriter<File>> {
        Ok(BufWriter::with_capacity(1 << 20, File::create(dir.join(name))?))
    };

    let mut text = Vec::with_capacity(33 << 20);
    while text.len() < 32 << 20 {
        for i in 0..4 + random.below(12) {
            if i > 0 {
                text.push(b' ');
            }
            // Common words are common: the product of two uniform numbers leans to the front.
            let rank = random.below(words.len()) * random.below(words.len()) / words.len();
            text.extend(words.get(rank).map(String::as_bytes).unwrap_or_default());
            if random.below(12) == 0 {
                write!(text, " {}", random.below(100_000))?;
            }
        }
        text.extend([b".", b",", b";", b":"][random.below(4)]);
        text.push(b'\n');
    }
    text.truncate(32 << 20);
    fs::write(dir.join("text"), &text)?;
    fs::write(dir.join("small"), text.get(..2 << 20).unwrap_or(&text))?;

    let mut lines = file("lines")?;
    for _ in 0..LINES {
        let word = &words[random.below(words.len())];
        writeln!(lines, "{} {word}-{}", random.below(10_000_000), random.below(1000))?;
    }
    lines.flush()?;
    let mut numbers = file("numbers")?;
    for i in 0..200_000 {
        let value = i64::try_from(random.next_u64() >> 40)? - (1 << 23);
        writeln!(numbers, "k{}\t{value}\t{}.{:03}", i % 977, random.below(500), random.below(1000))?;
    }
    numbers.flush()?;
    let mut binary = file("binary")?;
    for _ in 0..(16 << 20) / 8 {
        binary.write_all(&random.next_u64().to_le_bytes())?;
    }
    binary.flush()?;
    for d in 0..100 {
        let sub = dir.join(format!("tree/d{d:02}"));
        fs::create_dir_all(&sub)?;
        for f in 0..20 {
            let start = random.below(1 << 20);
            let name = format!("{}-{f}.{}", words[random.below(words.len())], ["txt", "c", "dat"][f % 3]);
            fs::write(sub.join(name), text.get(start..start + random.below(3000)).unwrap_or_default())?;
        }
    }
    let script = "for f in text small; do gzip -nk $f; bzip2 -k $f; xz -k -T1 $f; done; find . -exec touch -h -d @1700000000 {} +";
    sh::output(sh::command("sh", ["-ec", script]).current_dir(dir))?;
    Ok(())
}

/// A few thousand made-up words.
fn vocabulary(random: &mut Random) -> Vec<String> {
    const STARTS: [&str; 20] =
        ["b", "br", "c", "ch", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v"];
    const MIDDLES: [&str; 10] = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "y", "ie"];
    const ENDS: [&str; 10] = ["", "n", "r", "s", "t", "l", "nd", "st", "ck", "m"];
    (0..4000)
        .map(|_| {
            (0..1 + random.below(3))
                .map(|_| format!("{}{}{}", STARTS[random.below(20)], MIDDLES[random.below(10)], ENDS[random.below(10)]))
                .collect()
        })
        .collect()
}
