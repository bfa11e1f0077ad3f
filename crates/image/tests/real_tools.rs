//! Images as umoci and skopeo write them, where these are installed.

mod common;
use common::*;
use megalith_image::{Format, open};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn run(dir: &Path, line: &str) {
    let out = Command::new("sh").args(["-ec", line]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
}

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success())
}

#[test]
fn umoci_and_skopeo() {
    if !is_there("umoci") || !is_there("skopeo") || rustix::process::geteuid().as_raw() != 0 {
        eprintln!("skipped: needs umoci, skopeo and root");
        return;
    }
    let scratch = Scratch::new();
    let dir = scratch.path("x");
    std::fs::create_dir(&dir).unwrap();
    run(&dir, "umoci init --layout oci; umoci new --image oci:t; umoci unpack --image oci:t a");
    run(
        &dir,
        "cd a/rootfs; mkdir -p bin etc/d tmp; echo tool > bin/tool; chmod 6755 bin/tool; ln bin/tool bin/again; ln -s bin sbin; \
         echo 1 > etc/old; echo 2 > etc/d/gone; mkfifo tmp/fifo; mknod tmp/null c 1 3; chown 5:6 etc; chmod 1777 tmp",
    );
    run(&dir, "umoci repack --image oci:t a; umoci unpack --image oci:t b");
    run(&dir, "cd b/rootfs; rm etc/old; rm -r etc/d; mkdir etc/d; echo 3 > etc/d/new; echo 4 > bin/again; rm bin/tool");
    run(&dir, "umoci repack --image oci:t b; umoci config --image oci:t --config.cmd /bin/again --config.user 5:6");
    run(&dir, "skopeo copy -q oci:oci:t docker-archive:docker.tar:x/t:1; skopeo copy -q oci:oci:t oci-archive:oci.tar");
    run(&dir, "skopeo copy -q --dest-compress-format zstd oci:oci:t oci:zstd; gzip -k docker.tar");
    let mut trees = Vec::new();
    for (name, format) in [
        ("oci", Format::Oci),
        ("oci.tar", Format::Oci),
        ("zstd", Format::Oci),
        ("docker.tar", Format::DockerArchive),
        ("docker.tar.gz", Format::DockerArchive),
    ] {
        let image = open(dir.join(name)).unwrap();
        assert_eq!(image.format, format, "{name}");
        assert_eq!((&*image.config.cmd, &*image.config.user), (&["/bin/again".to_string()][..], "5:6"));
        trees.push((list(&image), image.rootfs.tree_digest().unwrap(), image.container_id));
    }
    assert!(trees.windows(2).all(|w| w[0] == w[1]), "{trees:?}");
    // And the same as what umoci makes of it.
    run(&dir, "umoci unpack --image oci:t c");
    let root = dir.join("c/rootfs");
    assert_eq!(list(&open(&root).unwrap()), trees[0].0);
    assert_eq!(std::fs::metadata(root.join("etc/d")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(trees[0].0.contains(&"/bin/again 6755 4\n".to_string()), "{:?}", trees[0].0);
}
