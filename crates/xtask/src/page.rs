//! `docs/compatibility.md`: one section a suite, so that a run of one suite leaves the others' results as they were.

use std::fs;

use anyhow::{Context, Result};

use crate::{paths, sh};

const HEAD: &str = "# Compatibility\n\nWritten by `cargo xtask conformance`; do not edit.\n";

/// Order of the sections.
const SECTIONS: &[&str] = &["busybox", "Python and Node packages", "CPython's Lib/test", "test262"];

/// Puts `body` in place of the section's old text.
///
/// # Errors
/// The page cannot be read or written.
pub fn put(section: &str, body: &str) -> Result<()> {
    let path = paths::root().join("docs/compatibility.md");
    let old = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    fs::write(&path, replace(&old, section, body)).with_context(|| format!("write {}", path.display()))?;
    eprintln!("xtask: wrote {}", path.display());
    Ok(())
}

/// When and where: `2026-11-22, Linux 6.1`.
///
/// # Errors
/// `date` or `uname` cannot be started.
pub fn when() -> Result<String> {
    let date = sh::text(&mut sh::command("date", ["-u", "+%Y-%m-%d"]))?;
    let kernel = sh::text(&mut sh::command("uname", ["-sr"]))?;
    Ok(format!("{}, {}", date.trim(), kernel.trim()))
}

fn replace(old: &str, section: &str, body: &str) -> String {
    let mut page = HEAD.to_owned();
    for name in SECTIONS {
        let text = if *name == section { Some(body) } else { text_of(old, name) };
        if let Some(text) = text {
            page.push_str(&format!("\n## {name}\n\n{}\n", text.trim()));
        }
    }
    page
}

/// What stands below a heading, up to the next one.
fn text_of<'a>(page: &'a str, section: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n"))?;
    Some(rest.split_once("\n## ").map_or(rest, |(text, _)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_changes_and_the_order_stays() {
        let page = replace("", "test262", "c");
        let page = replace(&page, "busybox", "a\n\n- x");
        assert_eq!(page, format!("{HEAD}\n## busybox\n\na\n\n- x\n\n## test262\n\nc\n"));
        assert_eq!(replace(&page, "busybox", "b"), format!("{HEAD}\n## busybox\n\nb\n\n## test262\n\nc\n"));
    }
}
