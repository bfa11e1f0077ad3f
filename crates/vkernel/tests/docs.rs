//! `docs/syscalls.md` is generated from the syscall table; `BLESS=1` rewrites it.

use std::path::Path;

#[test]
fn syscall_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/syscalls.md");
    let want = megalith_vkernel::docs_markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &want).expect("docs/syscalls.md can be written");
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "docs/syscalls.md is not what the table says; run with BLESS=1");
}
