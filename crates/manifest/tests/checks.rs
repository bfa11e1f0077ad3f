//! What `from_json` accepts and refuses.

use megalith_manifest::*;
use std::collections::BTreeMap;

fn path(p: &str) -> GuestPath {
    GuestPath::new(p).unwrap()
}

fn binary(bytes: &[u8], entry_point: &str, kind: Kind) -> Binary {
    Binary { hash: FileHash::of(bytes), entry_point: entry_point.into(), kind, size: bytes.len() as u64 }
}

fn polyfill(snapshot: Option<Snapshot>) -> Polyfill {
    Polyfill {
        name: "python".into(),
        version: "3.11".into(),
        reason: "it is python 3.11".into(),
        program: FileHash::of(b"elf"),
        file: "python-3.11.elf".into(),
        calls: vec!["read".into(), "fchmodat2".into()],
        snapshot,
    }
}

fn sample() -> Manifest {
    Manifest {
        schema: Manifest::SCHEMA.into(),
        container_id: FileHash::of(b"config"),
        megabinary: "container.wasm".into(),
        megabinary_hash: FileHash::of(b"module"),
        binaries: BTreeMap::from([
            (path("/usr/bin/ls"), binary(b"ls", "ls_start", Kind::Elf)),
            (path("/bin/dir"), binary(b"dir", "dir_start", Kind::Elf)),
            (path("/usr/bin/python3"), binary(b"py3", "python_start", Kind::Polyfill)),
            (path("/usr/bin/python3.11"), binary(b"py311", "python_start", Kind::Polyfill)),
            (path("/usr/local/bin/report.py"), binary(b"#!", "python_start", Kind::Script)),
            (GuestPath::new(b"/bin/\xff\\".to_vec()).unwrap(), binary(b"odd", "\\xff\\\\_start", Kind::Wasi)),
        ]),
        agent_tools: BTreeMap::from([("write_file".to_string(), FileHash::of(b"ls"))]),
        agent_tool_paths: BTreeMap::from([("write_file".to_string(), path("/bin/link-to-ls"))]),
        polyfills: BTreeMap::from([
            (FileHash::of(b"py3"), polyfill(None)),
            (
                FileHash::of(b"py311"),
                polyfill(Some(Snapshot {
                    file: "python-1.snapshot".into(),
                    hash: FileHash::of(b"pages"),
                    warmed: vec!["json".into()],
                })),
            ),
        ]),
        config: Config { cmd: vec!["/bin/sh".into()], env: vec!["PATH=/bin".into()], ..Config::default() },
        fs: FileSystem { root: FileHash::of(b"index"), place: FsPlace::Section, offset: 4096, size: 8192 },
        scripts: Scripts::Sealed,
        not_recompiled: vec![NotRecompiled {
            path: path("/usr/bin/ls"),
            offset: Some(12),
            bytes: Some("0f0b".into()),
            reason: "ud2".into(),
        }],
    }
}

fn text(m: &Manifest) -> String {
    String::from_utf8(m.to_json().unwrap()).unwrap()
}

/// The message for the sample with `from` replaced by `to`; panics if it is accepted.
fn refused(from: &str, to: &str) -> String {
    let text = text(&sample());
    assert!(text.contains(from), "{from}");
    let error = Manifest::from_json(text.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
    assert!(!error.is_empty() && !error.contains(char::is_control), "{error:?}");
    error
}

#[test]
fn round_trip_is_exact_and_ends_in_a_newline() {
    let text = text(&sample());
    assert!(text.ends_with("}\n"));
    assert!(text.contains(r#""/bin/\\xff\\\\": {"#), "{text}");
    let back = Manifest::from_json(text.as_bytes()).unwrap();
    assert_eq!(back, sample());
    assert_eq!(back.to_json().unwrap(), text.as_bytes());
    assert_eq!(back.by_hash().len(), 6);
    assert_eq!(back.binaries[&b"/usr/bin/ls"[..]].entry_point, "ls_start");
}

#[test]
fn optional_keys_may_be_missing() {
    let mut value: serde_json::Value = serde_json::from_slice(&sample().to_json().unwrap()).unwrap();
    for key in ["config", "scripts", "not_recompiled", "agent_tool_paths", "agent_tools"] {
        value.as_object_mut().unwrap().remove(key).unwrap();
    }
    let m = Manifest::from_json(value.to_string().as_bytes()).unwrap();
    assert_eq!((m.scripts, m.config), (Scripts::Open, Config::default()));
    for key in ["schema", "container_id", "megabinary", "megabinary_hash", "binaries", "fs"] {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove(key).unwrap();
        let error = Manifest::from_json(value.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn schema_is_looked_at_first() {
    let error = Manifest::from_json(br#"{"schema": "megalith/2", "new": 1}"#).unwrap_err().to_string();
    assert_eq!(error, "schema 'megalith/2' is not known here: only 'megalith/1' is");
}

#[test]
fn bad_values_are_refused() {
    let ls = FileHash::of(b"ls").to_string();
    for (from, to) in [
        (&*ls, "sha256:00"),
        (&*ls, "md5:00"),
        ("/usr/bin/ls", "usr/bin/ls"),
        ("/usr/bin/ls", "/usr/../ls"),
        ("/usr/bin/ls", "/usr/./ls"),
        ("/usr/bin/ls", "/usr//ls"),
        ("/usr/bin/ls", "/usr/ls/"),
        ("/usr/bin/ls", "/usr/\\u0000"),
        ("/usr/bin/ls", "/usr/\\\\x41"),
        ("/usr/bin/ls", "/bin/dir"),
        ("\"ls_start\"", "\"ls\""),
        ("\"ls_start\"", "\"_start\""),
        ("\"ls_start\"", "\"_dispatch\""),
        ("\"ls_start\"", "\"dir_start\""),
        ("\"ls_start\"", "\"python_start\""),
        ("\"kind\": \"elf\"", "\"kind\": \"exe\""),
        ("\"size\": 2", "\"size\": -1"),
        ("\"size\": 2", "\"size\": 18446744073709551615"),
        ("\"size\": 2", "\"sizes\": 2"),
        ("container.wasm", "../container.wasm"),
        ("container.wasm", "/etc/passwd"),
        ("container.wasm", "manifest.json"),
        ("container.wasm", ""),
        ("\"write_file\"", "\"write file\""),
        ("\"section\"", "\"elsewhere\""),
        ("\"offset\": 4096", "\"offset\": 100"),
        ("\"size\": 8192", "\"size\": 9223372036854775807"),
        ("\"working_dir\": \"\"", "\"working_dir\": \"tmp\""),
        ("PATH=/bin", "PATH=/bin\\u0000"),
        ("\"sealed\"", "\"shut\""),
        ("\"0f0b\"", "\"zz\""),
        ("}\n", "}}"),
    ] {
        refused(from, to);
    }
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff", &b"[".repeat(100_000)] {
        assert!(Manifest::from_json(bytes).is_err());
    }
}

#[test]
fn one_hash_has_one_entry_point_kind_and_size() {
    type Change = fn(&mut Binary);
    let changes: [Change; 3] = [|b| b.entry_point = "other_start".into(), |b| b.size += 1, |b| b.kind = Kind::Wasi];
    for change in changes {
        let mut m = sample();
        let mut copy = m.binaries[&path("/usr/bin/ls")].clone();
        m.binaries.insert(path("/opt/ls"), copy.clone());
        m.to_json().unwrap();
        change(&mut copy);
        m.binaries.insert(path("/opt/ls"), copy);
        let error = m.to_json().unwrap_err().to_string();
        assert!(error.contains("has another entry point, kind or size elsewhere"), "{error}");
    }
}

#[test]
fn scripts_need_an_interpreter_and_tools_a_program() {
    let mut m = sample();
    m.binaries.insert(path("/opt/x"), binary(b"#!x", "node_start", Kind::Script));
    assert!(m.check().unwrap_err().to_string().contains("no program has the entry point 'node_start'"));
    let mut m = sample();
    m.agent_tools.insert("x".into(), FileHash::of(b"nothing"));
    assert!(m.check().unwrap_err().to_string().contains("no entry of 'binaries'"));
    let mut m = sample();
    m.agent_tool_paths.insert("x".into(), path("/usr/bin/ls"));
    assert!(m.check().unwrap_err().to_string().contains("'x' is not in 'agent_tools'"));
}

#[test]
fn tools_have_a_path_and_a_hash() {
    let mut m = sample();
    assert_eq!(m.tool("write_file"), Some((&path("/bin/link-to-ls"), FileHash::of(b"ls"))));
    m.agent_tool_paths.clear();
    assert_eq!(m.tool("write_file"), Some((&path("/usr/bin/ls"), FileHash::of(b"ls"))));
    assert_eq!(m.tool("ls"), None);
}

#[test]
fn random_damage_gives_one_line() {
    let good = sample().to_json().unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..=random(3) {
            let at = random(bad.len());
            match random(3) {
                0 => bad[at] = random(256) as u8,
                1 => drop(bad.drain(at..(at + random(8)).min(bad.len()))),
                _ => bad.insert(at, b"{}[]\",:\\0x/."[random(12)]),
            }
        }
        match Manifest::from_json(&bad) {
            Ok(m) => assert_eq!(Manifest::from_json(&m.to_json().unwrap()).unwrap(), m),
            Err(e) => assert!(!e.to_string().contains(char::is_control)),
        }
    }
}

#[test]
fn aot_index() {
    let file = AotFile {
        code: "0123.so".into(),
        code_hash: CodeHash::of(b"code"),
        code_size: 4,
        meta: "0123.meta".into(),
        meta_hash: FileHash::of(b"meta"),
        meta_size: 4,
    };
    let index = AotIndex {
        schema: AotIndex::SCHEMA.into(),
        target: "x86_64-unknown-linux-gnu".into(),
        engine: Engine { wasmtime: "48.0.8".into(), config: "0123abcd".into() },
        megabinary_hash: FileHash::of(b"module"),
        files: BTreeMap::from([(FileHash::of(b"ls"), file.clone()), (FileHash::of(b"dir"), file.clone())]),
    };
    let text = String::from_utf8(index.to_json().unwrap()).unwrap();
    assert_eq!(AotIndex::from_json(text.as_bytes()).unwrap(), index);
    assert_eq!(index.file_names().into_iter().collect::<Vec<_>>(), ["0123.meta", "0123.so"]);
    for (from, to) in [
        ("megalith-aot/2", "megalith-aot/3"),
        ("0123.so", "../0123.so"),
        ("0123.so", "index.json"),
        ("0123.so", ".so"),
        ("0123.so", "0123.meta"),
        ("48.0.8", ""),
        ("x86_64-unknown", "x86_64/unknown"),
        ("\"code_size\": 4", "\"code_size\": 5"),
        ("\"code_size\": 4", "\"code_size\": 18446744073709551615"),
        ("\"files\"", "\"extra\": 1, \"files\""),
    ] {
        assert!(text.contains(from), "{from}");
        let error = AotIndex::from_json(text.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn calls_of_polyfills_are_names_and_each_stands_once() {
    for bad in [&["read", "read"][..], &[""], &["read write"], &["Read"], &["../x"]] {
        let mut m = sample();
        let calls = bad.iter().map(ToString::to_string).collect();
        m.polyfills.get_mut(&FileHash::of(b"py3")).unwrap().calls = calls;
        assert!(m.check().unwrap_err().to_string().contains("name of a system call, or twice"), "{bad:?}");
    }
    // Who names none may make none; but a list there must be.
    let mut m = sample();
    m.polyfills.get_mut(&FileHash::of(b"py3")).unwrap().calls.clear();
    m.check().unwrap();
    let text = String::from_utf8(m.to_json().unwrap()).unwrap().replace("\"calls\"", "\"call\"");
    assert!(Manifest::from_json(text.as_bytes()).is_err());
}

#[test]
fn polyfills_and_their_entries_go_together() {
    assert!(refused("\"python-1.snapshot\"", "\"../snapshot\"").contains("file name"));
    assert!(refused("\"python-3.11.elf\"", "\"a/b\"").contains("file name"));
    let mut m = sample();
    let described = m.polyfills.remove(&FileHash::of(b"py3")).unwrap();
    assert!(m.check().unwrap_err().to_string().contains("is not in 'polyfills'"));
    m.polyfills.insert(FileHash::of(b"ls"), described);
    assert!(m.check().unwrap_err().to_string().contains("no entry of kind polyfill"));
}
