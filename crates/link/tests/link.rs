//! Structure, determinism, and what is refused.

mod common;

use common::{ONE, PIE, TWO, hash, wasi_command};
use megalith_abi::PAGE_SIZE;
use megalith_link::{
    Alias, Error, FS_SECTION, LinkInputs, Linked, Megabinary, Object, WasiModule, check_wasi, features, link,
};
use std::io::Cursor;
use wasmparser::{Parser, Payload, Validator};

fn with<T>(f: impl FnOnce(&LinkInputs<'_>) -> T) -> T {
    let (one, two, pie) = (ONE.object(), TWO.object(), PIE.object());
    let wasi = wasi_command("hello from wasi\n", 3);
    f(&LinkInputs {
        objects: vec![
            Object { hash: hash(1), entry_point: "one_start", wasm: &one },
            Object { hash: hash(2), entry_point: "two_start", wasm: &two },
            Object { hash: hash(3), entry_point: "pie_start", wasm: &pie },
        ],
        wasi: vec![WasiModule { hash: hash(4), entry_point: "wasi_start", wasm: &wasi }],
        aliases: vec![
            Alias { hash: hash(5), entry_point: "two_start" },
            Alias { hash: hash(6), entry_point: "wasi_start" },
        ],
    })
}

fn linked() -> Linked {
    with(link).expect("links")
}

fn valid(wasm: &[u8]) {
    Validator::new_with_features(features()).validate_all(wasm).expect("validates");
}

#[test]
fn order_of_inputs_does_not_matter() {
    let first = linked();
    let second = with(|inputs| {
        let mut inputs = inputs.clone();
        inputs.objects.reverse();
        inputs.aliases.reverse();
        link(&inputs)
    });
    assert!(first.wasm == second.expect("links").wasm);
}

#[test]
fn projections_validate_and_depend_on_their_file_alone() {
    let all = linked();
    let all = Megabinary::parse(&all.wasm).expect("parses");
    for n in 1..=6 {
        valid(&all.project(&hash(n)).expect("projects"));
    }
    let two = TWO.object();
    let alone = LinkInputs {
        objects: vec![Object { hash: hash(2), entry_point: "two_start", wasm: &two }],
        aliases: vec![Alias { hash: hash(5), entry_point: "two_start" }],
        ..LinkInputs::default()
    };
    let alone = link(&alone).expect("links");
    let alone = Megabinary::parse(&alone.wasm).expect("parses");
    assert!(alone.project(&hash(2)).expect("projects") == all.project(&hash(2)).expect("projects"));
    assert!(all.project(&hash(5)).expect("projects") == all.project(&hash(2)).expect("projects"));
    assert_eq!(all.file_meta(&hash(2)).expect("has one"), TWO.meta());
    assert!(matches!(all.project(&hash(9)), Err(Error::UnknownHash(_))));
    assert!(matches!(all.file_meta(&hash(4)), Err(Error::UnknownHash(_))));
}

#[test]
fn a_projection_has_no_data_and_its_own_imports_only() {
    let all = linked();
    let all = Megabinary::parse(&all.wasm).expect("parses");
    let wasm = all.project(&hash(3)).expect("projects");
    let (mut imports, mut exports, mut functions) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.expect("parses") {
            Payload::ImportSection(s) => imports.extend(s.into_imports().map(|i| i.expect("reads").name)),
            Payload::ExportSection(s) => exports.extend(s.into_iter().map(|e| e.expect("reads").name)),
            Payload::FunctionSection(s) => functions = s.count(),
            Payload::DataSection(_) => panic!("a projection of an object has no data"),
            _ => {}
        }
    }
    assert_eq!(imports, ["syscall", "resolve", "unwound", "start"]);
    assert_eq!(functions, 2 + 6, "main and answer; _enter, a _switch, _run, the entry point, _resume, _dispatch");
    for name in ["pie_start", "_dispatch", "_resume", "memory", "map", "table", "rax", "mxcsr", "base"] {
        assert!(exports.contains(&name), "{name}");
    }
    assert!(!exports.contains(&"one_start"));
}

#[test]
fn the_file_system_is_the_last_section_and_page_aligned() {
    let linked = linked();
    for len in [0usize, 1, 5000] {
        let content: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut out = Cursor::new(Vec::new());
        let mut offset = 0;
        let written = linked
            .write_to(&mut out, |w, at| {
                offset = at;
                w.write_all(&content)?;
                Ok(content.len() as u64)
            })
            .expect("writes");
        let bytes = out.into_inner();
        assert_eq!((written.len, written.fs_offset, written.fs_len), (bytes.len() as u64, offset, len as u64));
        assert_eq!(offset % u64::from(PAGE_SIZE), 0);
        assert!(bytes[offset as usize..] == content);
        valid(&bytes);
        let last = Parser::new(0).parse_all(&bytes).filter_map(|p| match p.expect("parses") {
            Payload::CustomSection(s) => Some(s.name().to_string()),
            _ => None,
        });
        assert_eq!(last.last().as_deref(), Some(FS_SECTION));
        let mega = Megabinary::parse(&bytes).expect("parses");
        assert_eq!(mega.fs_range(), Some(offset..offset + len as u64));
    }
    let lies = linked.write_to(&mut Cursor::new(Vec::new()), |w, _| w.write_all(b"xy").map(|()| 1));
    assert!(matches!(lies, Err(Error::Io(_))));
}

#[test]
fn contradictions_are_refused() {
    let conflict = |change: &dyn Fn(&mut LinkInputs<'_>)| {
        with(|inputs| {
            let mut inputs = inputs.clone();
            change(&mut inputs);
            link(&inputs).expect_err("is refused").to_string()
        })
    };
    assert!(conflict(&|i| i.objects[1].hash = hash(1)).contains("given twice"));
    assert!(conflict(&|i| i.objects[1].entry_point = "one_start").contains("two programs"));
    assert!(conflict(&|i| i.aliases[0].entry_point = "none_start").contains("no program"));
    assert!(conflict(&|i| i.aliases[0].hash = hash(1)).contains("two entry points"));
    assert!(conflict(&|i| i.objects[0].entry_point = "rax").contains("\"rax\""));
    assert!(conflict(&|i| i.objects[0].wasm = b"\0asm").contains("one_start: not a valid"));
    let wasi = wasi_command("x", 0);
    assert!(
        conflict(&|i| {
            // Not a WASI module: an object imports what only objects may.
            i.wasi[0].wasm = i.objects[0].wasm;
        })
        .contains("only functions of wasi_snapshot_preview1")
    );
    assert_eq!(check_wasi("ok", &wasi).unwrap(), (1, 1));
}

/// A small generator of pseudo-random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    /// Changes, cuts or repeats a little of `bytes`.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(out.len());
            match self.below(8) {
                0 => out.truncate(at.max(8)),
                1 => out[at] = 0xff,
                2 => {
                    let end = (at + self.below(32)).min(out.len());
                    let piece = out[at..end].to_vec();
                    out.splice(at..at, piece);
                }
                _ => out[at] ^= 1 << self.below(8),
            }
        }
        out
    }
}

#[test]
fn mutated_inputs_do_not_panic() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (object, wasi) = (PIE.object(), wasi_command("hello\n", 3));
    let mut accepted = 0;
    for _ in 0..4000 {
        let (object, wasi) = (random.mutate(&object), random.mutate(&wasi));
        let objects = vec![Object { hash: hash(1), entry_point: "a_start", wasm: &object }];
        accepted += usize::from(link(&LinkInputs { objects, ..LinkInputs::default() }).is_ok());
        let wasi = vec![WasiModule { hash: hash(2), entry_point: "b_start", wasm: &wasi }];
        accepted += usize::from(link(&LinkInputs { wasi, ..LinkInputs::default() }).is_ok());
    }
    assert!(accepted > 100, "the mutations must leave some inputs valid, {accepted}");
}

#[test]
fn mutated_megabinaries_do_not_panic() {
    let mut random = Random(0xfeed_5678_9abc_def1);
    let wasm = linked().wasm;
    let mut projected = 0;
    for _ in 0..3000 {
        let wasm = random.mutate(&wasm);
        let Ok(mega) = Megabinary::parse(&wasm) else { continue };
        let _ = mega.file_meta(&hash(1));
        for (hash, _) in &mega.units().hashes {
            projected += usize::from(mega.project(hash).is_ok());
        }
    }
    assert!(projected > 100, "{projected}");
}
