//! Images in, bundles out: every form of image, broken ones, replacement of a bundle, tampering.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::subject::{self, Job, Outcome, Stdin, Subject};
use xtask::{oci, paths, sh};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::ours("build::forms-of-image", forms_of_image),
        Test::ours("build::deterministic", deterministic),
        Test::ours("build::replaces-while-running", replaces_while_running),
        Test::ours("build::unchanged-image-again", unchanged_again),
        Test::ours("build::refuses-to-replace-other-directories", refuses_other_directories),
        Test::ours("build::link-out-of-the-image", link_out),
        Test::ours("verify::tampered", tampered),
    ];
    tests.extend(
        BROKEN.iter().map(|(name, breaking)| Test::ours(format!("build::broken::{name}"), move || broken(*breaking))),
    );
    tests
}

/// A root directory with two tiny programs, and its OCI layout.
fn small(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let context = context::get()?;
    let (root, layout) = (dir.join("root"), dir.join("layout"));
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("etc"))?;
    fs::copy(context.corpus.rootfs.join("opt/t/hello"), root.join("bin/hello"))?;
    fs::write(root.join("etc/motd"), "motd\n")?;
    std::os::unix::fs::symlink("hello", root.join("bin/hi"))?;
    oci::write_layout(
        &root,
        &layout,
        &oci::Config { environment: vec!["A=b".into()], command: vec!["/bin/hello".into()] },
    )?;
    Ok((root, layout))
}

fn build(image: &Path, bundle: &Path, more: &[&str]) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["build"]);
    command.arg(image).arg("-o").arg(bundle).args(more);
    subject::run(command, &Stdin::Empty, Duration::from_secs(600))
}

fn says_hello(bundle: &Path) -> Result<()> {
    let outcome = Subject::megalith(bundle).run(&Job::new(["/bin/hello"]))?;
    ensure!(outcome.status == 0 && outcome.text() == "hello from a sealed module\n", "{}", outcome.describe());
    Ok(())
}

fn forms_of_image() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (root, layout) = small(dir.path())?;
    let tar = dir.path().join("layout.tar");
    sh::output(sh::command("tar", ["-C"]).arg(&layout).arg("-cf").arg(&tar).arg("."))?;
    let archive = docker_archive(dir.path(), &root)?;
    for (i, image) in [root, layout, tar, archive].iter().enumerate() {
        let bundle = dir.path().join(format!("b{i}"));
        let outcome = build(image, &bundle, &[])?;
        ensure!(outcome.status == 0, "{}: {}", image.display(), outcome.describe());
        says_hello(&bundle).with_context(|| image.display().to_string())?;
    }
    Ok(())
}

/// What `docker save` writes: manifest.json, a config and layer tars.
fn docker_archive(dir: &Path, root: &Path) -> Result<PathBuf> {
    let parts = dir.join("docker");
    fs::create_dir(&parts)?;
    sh::output(
        sh::command("tar", ["-C"]).arg(root).arg("--numeric-owner").arg("-cf").arg(parts.join("layer.tar")).arg("."),
    )?;
    let diff_id = sh::sha256_file(&parts.join("layer.tar"))?;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/bin/hello"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
    );
    fs::write(parts.join("config.json"), config)?;
    fs::write(parts.join("manifest.json"), r#"[{"Config":"config.json","RepoTags":["t:1"],"Layers":["layer.tar"]}]"#)?;
    let archive = dir.join("docker.tar");
    sh::output(sh::command("tar", ["-C"]).arg(&parts).arg("-cf").arg(&archive).args([
        "manifest.json",
        "config.json",
        "layer.tar",
    ]))?;
    Ok(archive)
}

fn deterministic() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_, layout) = small(dir.path())?;
    let mut hashes = Vec::new();
    for (i, jobs) in ["1", "2", "2"].iter().enumerate() {
        let bundle = dir.path().join(format!("b{i}"));
        let outcome = build(&layout, &bundle, &["--jobs", jobs])?;
        ensure!(outcome.status == 0, "{}", outcome.describe());
        hashes
            .push((sh::sha256_file(&bundle.join("container.wasm"))?, sh::sha256_file(&bundle.join("manifest.json"))?));
    }
    ensure!(hashes[0] == hashes[1] && hashes[1] == hashes[2], "{hashes:#?}");
    Ok(())
}

/// A running container keeps the bundle that it started from.
fn replaces_while_running() -> Result<()> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let bundle = dir.path().join("b");
    let outcome = build(&context.corpus.image, &bundle, &[])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let job = Job::shell("echo up; sleep 3; /opt/t/pie; sha256sum < /bin/busybox | cut -c 1-8");
    let child = Subject::megalith(&bundle).command(&job, false).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(1));
    let (_, layout) = small(dir.path())?;
    let outcome = build(&layout, &bundle, &[])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let out = child.wait_with_output()?;
    ensure!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("position independent"), "{out:?}");
    says_hello(&bundle)?;
    let refused = Subject::megalith(&bundle).run(&Job::new(["/opt/t/pie"]))?;
    ensure!(refused.status == 127, "the new bundle has no such program: {}", refused.describe());
    leftovers(dir.path(), &["b", "root", "layout"])
}

/// Reported, not judged: tests judge no speed.
fn unchanged_again() -> Result<()> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let mut times = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        let outcome = build(&context.corpus.image, &dir.path().join("b"), &[])?;
        ensure!(outcome.status == 0, "{}", outcome.describe());
        times.push(start.elapsed().as_secs_f64());
    }
    eprintln!("build of an unchanged image: {:.1} s, again {:.1} s", times[0], times[1]);
    Ok(())
}

fn refuses_other_directories() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_, layout) = small(dir.path())?;
    let other = dir.path().join("precious");
    fs::create_dir(&other)?;
    fs::write(other.join("file"), "keep")?;
    let outcome = build(&layout, &other, &[])?;
    ensure!(outcome.status == 1, "{}", outcome.describe());
    ensure!(fs::read_to_string(other.join("file"))? == "keep");
    Ok(())
}

/// One flipped byte anywhere in a bundle is found by `verify`, and nothing wrong runs.
fn tampered() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_, layout) = small(dir.path())?;
    let bundle = dir.path().join("b");
    let outcome = build(&layout, &bundle, &[])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let verify = |bundle: &Path| {
        let mut command = sh::command(paths::release("megalith"), ["verify"]);
        command.arg(bundle);
        subject::run(command, &Stdin::Empty, Duration::from_secs(60))
    };
    let good = verify(&bundle)?;
    ensure!(good.status == 0, "{}", good.describe());
    let list = sh::text(sh::command("find", [&bundle]).args(["-type", "f", "-size", "+0"]))?;
    for file in list.lines().map(Path::new) {
        let bytes = fs::read(file)?;
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            fs::remove_file(file)?;
            fs::write(file, &changed)?;
            let found = verify(&bundle)?;
            ensure!(found.status == 1, "{} byte {at} flipped: {}", file.display(), found.describe());
            let outcome = Subject::megalith(&bundle).run(&Job::new(["/bin/hello"]))?;
            // What a run does not reach it need not check; what it prints is never wrong.
            ensure!(
                outcome.stdout.is_empty() || outcome.text() == "hello from a sealed module\n",
                "{}",
                outcome.describe()
            );
        }
        fs::write(file, &bytes)?;
    }
    Ok(())
}

/// Damages the OCI layout or root directory given; returns what to build.
type Breaking = fn(&Path, &Path) -> Result<PathBuf>;

const BROKEN: &[(&str, Breaking)] = &[
    ("missing", |dir, _| Ok(dir.join("nothing-here"))),
    ("empty-directory", |dir, _| {
        let empty = dir.join("empty-layout");
        fs::create_dir(&empty)?;
        fs::write(empty.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(empty)
    }),
    ("a-text-file", |dir, _| {
        fs::write(dir.join("text"), "not an image\n")?;
        Ok(dir.join("text"))
    }),
    ("index-is-no-json", |_, layout| {
        fs::write(layout.join("index.json"), "{\"schemaVersion\": 2, ")?;
        Ok(layout.to_owned())
    }),
    ("index-without-manifest", |_, layout| {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        fs::write(layout.join("index.json"), index)?;
        Ok(layout.to_owned())
    }),
    ("digest-escapes", |_, layout| {
        let index = fs::read_to_string(layout.join("index.json"))?;
        let at = index.find("sha256:").context("a digest")?;
        let digest = index.get(at..at + 71).context("a digest of 71 characters")?.to_owned();
        fs::write(layout.join("index.json"), index.replace(&digest, "sha256:../../../../etc/passwd"))?;
        Ok(layout.to_owned())
    }),
    ("layer-truncated", |_, layout| {
        let layer = largest_blob(layout)?;
        let bytes = fs::read(&layer)?;
        fs::write(&layer, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        Ok(layout.to_owned())
    }),
    ("layer-changed", |_, layout| {
        let layer = largest_blob(layout)?;
        let mut bytes = fs::read(&layer)?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x40;
        }
        fs::write(&layer, bytes)?;
        Ok(layout.to_owned())
    }),
    ("layer-missing", |_, layout| {
        fs::remove_file(largest_blob(layout)?)?;
        Ok(layout.to_owned())
    }),
    ("tar-truncated", |dir, layout| {
        let tar = dir.join("cut.tar");
        sh::output(sh::command("tar", ["-C"]).arg(layout).arg("-cf").arg(&tar).arg("."))?;
        let bytes = fs::read(&tar)?;
        fs::write(&tar, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        Ok(tar)
    }),
    ("path-escapes", |dir, _| layered(dir, "../../outside")),
];

/// A docker-archive whose layer has a symlink `link` out of the image and then an entry of this name.
fn layered(dir: &Path, name: &str) -> Result<PathBuf> {
    let parts = dir.join("parts");
    fs::create_dir(&parts)?;
    let mut builder = tar::Builder::new(fs::File::create(parts.join("layer.tar"))?);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "link", dir.join("elsewhere"))?;
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o755);
    // The library refuses `..` in names, so the field is written by hand.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, &b"bytes"[..])?;
    builder.into_inner()?;
    let diff_id = sh::sha256_file(&parts.join("layer.tar"))?;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
    );
    fs::write(parts.join("config.json"), config)?;
    fs::write(parts.join("manifest.json"), r#"[{"Config":"config.json","RepoTags":null,"Layers":["layer.tar"]}]"#)?;
    let archive = dir.join("escape.tar");
    sh::output(sh::command("tar", ["-C"]).arg(&parts).arg("-cf").arg(&archive).args([
        "manifest.json",
        "config.json",
        "layer.tar",
    ]))?;
    Ok(archive)
}

/// A layer may write through a symlink of the image (`/lib` is one in Debian), but the link resolves inside the image.
fn link_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = layered(dir.path(), "link/inside")?;
    build(&image, &dir.path().join("b"), &[])?;
    ensure!(!dir.path().join("elsewhere").exists(), "a layer wrote outside of the image");
    Ok(())
}

fn largest_blob(layout: &Path) -> Result<PathBuf> {
    let blobs = fs::read_dir(layout.join("blobs/sha256"))?.filter_map(|e| Some(e.ok()?.path()));
    blobs.max_by_key(|p| fs::metadata(p).map_or(0, |m| m.len())).context("a blob")
}

/// One clear line, status 1, an existing bundle untouched, nothing half-written beside it.
fn broken(breaking: Breaking) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_, layout) = small(dir.path())?;
    let out = dir.path().join("out");
    fs::create_dir(&out)?;
    let bundle = out.join("b");
    let outcome = build(&layout, &bundle, &[])?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let before = subject::snapshot(&bundle)?;
    let image = breaking(dir.path(), &layout)?;
    for target in [bundle.clone(), out.join("fresh")] {
        let outcome = build(&image, &target, &[])?;
        ensure!(outcome.status == 1, "status 1 expected: {}", outcome.describe());
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        // Progress goes to stderr too; of errors there is one line.
        let errors = said.lines().filter(|l| l.starts_with("megalith: ")).count();
        ensure!(errors == 1 && said.lines().count() <= 2 && !said.contains("panicked"), "one clear line: {said}");
    }
    leftovers(&out, &["b"])?;
    ensure!(
        !dir.path().join("elsewhere").exists() && !dir.path().join("outside").exists(),
        "something was written outside"
    );
    ensure!(subject::snapshot(&bundle)? == before, "the existing bundle changed");
    says_hello(&bundle)
}

/// Nothing but `expected` (and `layout`'s companions) may lie in `dir`.
fn leftovers(dir: &Path, expected: &[&str]) -> Result<()> {
    let mut names: Vec<String> =
        fs::read_dir(dir)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.retain(|n| !expected.contains(&n.as_str()));
    ensure!(names.is_empty(), "left behind: {names:?}");
    Ok(())
}
