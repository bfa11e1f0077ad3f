//! `docs/syscalls.md` and `docs/wasi.md` are generated from the tables of calls; `BLESS=1` rewrites them.

use std::path::Path;

/// Compares a page of `docs`, or rewrites it.
fn page(name: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, want).expect("docs can be written");
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "docs/{name} is not what the table says; run with BLESS=1");
}

#[test]
fn syscall_page_is_current() {
    page("syscalls.md", &megalith_vkernel::docs_markdown());
}

#[test]
fn wasi_page_is_current() {
    page("wasi.md", &megalith_vkernel::wasi_docs_markdown());
}
