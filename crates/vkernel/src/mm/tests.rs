//! What a process leaves behind in its slot is not there for the next one: whatever the guest did, a program that starts in a used slot finds exactly
//! what it finds in a new one, in the tree of areas and in what the host has mapped.

use super::*;
use crate::errno::Errno;
use crate::exec::{self, ExecRequest};
use crate::kernel::Kernel;
use crate::process::{FsState, Ids, default_rlimits};
use crate::program::Abi;
use crate::tests::{World, world};
use std::os::fd::OwnedFd;
use std::sync::Arc;

const TEXT: u64 = 0x40_0000;
const DATA: u64 = 0x40_1000;
const BSS: u64 = 0x40_2000;
const HEAP: u64 = 0x40_3000;
const STACK: u64 = 0xfffe_f000;

/// The memory that exec makes for the program at `path`.
fn load(k: &Kernel, path: &str) -> (AddressSpace, u64) {
    let root = k.vfs.root();
    let fs = FsState { root: root.clone(), cwd: root.clone(), umask: 0 };
    let q = ExecRequest {
        path: path.into(),
        base: root,
        location: None,
        expect: None,
        argv: vec![path.into()],
        envp: Vec::new(),
    };
    let l = exec::load(k, &fs, &Ids::new(0, 0, &[]), &default_rlimits(64), &q).unwrap();
    (l.space, l.rsp)
}

/// What the host has mapped in memory 0: start, end, rights and kind, inode, offset; neighbours that continue each other as one.
fn mapped(s: &AddressSpace) -> Vec<(u64, u64, String, u64, u64)> {
    let base = s.slot().memory0() as u64;
    let mut out: Vec<(u64, u64, String, u64, u64)> = Vec::new();
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let f: Vec<&str> = line.split_whitespace().collect();
        let (a, b) = f[0].split_once('-').unwrap();
        let hex = |s: &str| u64::from_str_radix(s, 16).unwrap();
        // What lies beside the slot may be merged with its first or last mapping.
        let (a, b) = (hex(a).max(base), hex(b).min(base + MEMORY0_SIZE as u64));
        if a >= b {
            continue;
        }
        let (a, b, offset, inode) = (a - base, b - base, hex(f[2]), f[4].parse().unwrap());
        match out.last_mut() {
            Some(l) if l.1 == a && l.2 == f[1] && l.3 == inode && (inode == 0 || l.4 + (a - l.0) == offset) => l.1 = b,
            _ => out.push((a, b, f[1].to_owned(), inode, if inode == 0 { 0 } else { offset })),
        }
    }
    out
}

/// The tree of areas.
fn areas(s: &AddressSpace) -> Vec<(u64, u64, u32, bool, bool)> {
    s.areas().map(|(a, v)| (a, v.end, v.prot.0, v.text, matches!(v.backing, Backing::Anon))).collect()
}

/// The bytes of all that can be read, up to `end`.
fn bytes(s: &AddressSpace, end: u64) -> Vec<(u64, Vec<u8>)> {
    let readable = s.areas().filter(|(a, v)| v.prot.allows(Prot::READ) && *a < end);
    readable
        .map(|(a, v)| {
            let mut b = vec![0; (v.end.min(end) - a) as usize];
            if s.read(a, &mut b).is_err() {
                // Behind the end of a file.
                b.clear();
            }
            (a, b)
        })
        .collect()
}

/// Bytes of the code map that matter: poll word, L1 entries of the pages around the program, code lines.
fn code(s: &AddressSpace) -> Vec<u8> {
    let l1 = megalith_abi::MAP_L1 as usize + (TEXT as usize / 4096 - 8) * 8;
    let mut out = Vec::new();
    for (at, len) in [(0, 64), (l1, 16 * 8), (megalith_abi::MAP_L2 as usize, 4096)] {
        // SAFETY: memory 1 of a live slot, on which nothing runs.
        out.extend_from_slice(unsafe { std::slice::from_raw_parts(s.slot().memory1().add(at), len) });
    }
    out
}

/// Everything that a new process can find, its random bytes and start arguments apart.
#[derive(PartialEq, Debug)]
struct Seen {
    mapped: Vec<(u64, u64, String, u64, u64)>,
    areas: Vec<(u64, u64, u32, bool, bool)>,
    bytes: Vec<(u64, Vec<u8>)>,
    code: Vec<u8>,
    brk: u64,
    total: u64,
}

fn seen(s: &AddressSpace, rsp: u64) -> Seen {
    Seen {
        mapped: mapped(s),
        areas: areas(s),
        bytes: bytes(s, rsp),
        code: code(s),
        brk: s.current_brk(),
        total: s.total(),
    }
}

/// All of memory 0 outside of the areas is inaccessible and, where anything is opened there, zero.
#[track_caller]
fn free_memory_is_empty(s: &mut AddressSpace, ranges: &[(u64, u64)]) {
    for &(a, len) in ranges {
        if s.areas().any(|(s, v)| s < a + len && a < v.end) {
            continue;
        }
        map(s, a, len, Prot::RW, Backing::Anon, true).unwrap();
        let mut b = vec![1; len as usize];
        s.read(a, &mut b).unwrap();
        assert!(b.iter().all(|&b| b == 0), "bytes of somebody else at {a:#x}");
    }
}

fn map(
    s: &mut AddressSpace,
    addr: u64,
    len: u64,
    prot: Prot,
    backing: Backing,
    fixed: bool,
) -> crate::errno::Result<u64> {
    s.mmap(MapRequest {
        addr,
        len,
        prot,
        backing,
        fixed,
        no_replace: false,
        label: Label::None,
        may_write: true,
        text: false,
    })
}

fn volume(fill: u8) -> (Arc<OwnedFd>, MapSource) {
    let fd = rustix::fs::memfd_create("volume", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&fd, &[fill; 16384]).unwrap();
    let fd = Arc::new(fd);
    let path = Arc::from(b"/v".as_slice());
    let source = MapSource {
        fd: Arc::clone(&fd),
        owner: None,
        base: 0,
        size: 16384,
        sealed: false,
        truncatable: true,
        anonymous: None,
        path,
        ino: 1,
        host: None,
    };
    (fd, source)
}

/// Fills all that can be written with a mark, shared files apart.
fn dirty(s: &AddressSpace) {
    let stack_from = STACK - 20 * PAGE;
    for (a, v) in s.areas() {
        if v.prot.allows(Prot::WRITE) && !matches!(v.backing, Backing::File { shared: true, .. }) {
            let a = if v.label == Label::Stack { stack_from.clamp(a, v.end) } else { a };
            // Behind the end of a file there is nothing to write to.
            let r = s.write(a, &vec![0xa5; (v.end - a) as usize]);
            assert!(r.is_ok() || matches!(v.backing, Backing::File { .. }));
        }
    }
}

type Deed = (&'static str, bool, fn(&mut AddressSpace));

/// What a guest may do: name, whether its slot is kept, how.
const DEEDS: &[Deed] = &[
    ("nothing", true, |_| {}),
    ("writes to data, bss and stack", true, |s| dirty(s)),
    ("heap", true, |s| {
        assert_eq!(s.set_brk(HEAP + 5 * PAGE), HEAP + 5 * PAGE);
        dirty(s);
        s.set_brk(HEAP + 2 * PAGE);
    }),
    ("heap, partly inaccessible or read-only at the end", true, |s| {
        s.set_brk(HEAP + 5 * PAGE);
        dirty(s);
        s.mprotect(HEAP, PAGE, Prot::NONE).unwrap();
        s.mprotect(HEAP + 2 * PAGE, PAGE, Prot::READ).unwrap();
    }),
    ("a large heap", true, |s| {
        s.set_brk(HEAP + 1000 * PAGE);
        dirty(s);
    }),
    ("a deep stack", true, |s| {
        s.write(0xff90_0000, &vec![7; 3 << 20]).unwrap();
        dirty(s);
    }),
    ("anonymous mappings, kept and unmapped", true, |s| {
        let a = map(s, 0, 6 * PAGE, Prot::RW, Backing::Anon, false).unwrap();
        let b = map(s, 0x5000_0000, 9 * PAGE, Prot::RW, Backing::Anon, true).unwrap();
        dirty(s);
        s.munmap(a + PAGE, 2 * PAGE).unwrap();
        s.munmap(b, 3 * PAGE).unwrap();
        map(s, b, PAGE, Prot::READ, Backing::Anon, true).unwrap();
    }),
    ("read-only data and inaccessible bss", true, |s| {
        dirty(s);
        s.mprotect(DATA, PAGE, Prot::READ).unwrap();
        s.mprotect(BSS, PAGE, Prot::NONE).unwrap();
    }),
    ("a stack guard", true, |s| {
        dirty(s);
        s.mprotect(STACK - 8 * PAGE, PAGE, Prot::NONE).unwrap();
    }),
    ("dropped zero pages", true, |s| {
        dirty(s);
        s.madvise(BSS, PAGE, libc::MADV_DONTNEED).unwrap();
    }),
    ("a file mapped shared and private", true, |s| {
        for (fill, shared) in [(1, true), (2, false)] {
            let (_, source) = volume(fill);
            let at = map(s, 0, 8192, Prot::RW, Backing::File { source, offset: 4096, shared }, false).unwrap();
            s.write(at + 5, b"written").unwrap();
        }
        dirty(s);
    }),
    ("a file mapped, inaccessible, then unmapped", true, |s| {
        let (_, source) = volume(3);
        let at = map(s, 0, 16384, Prot::RW, Backing::File { source, offset: 0, shared: false }, false).unwrap();
        dirty(s);
        s.mprotect(at, 4096, Prot::NONE).unwrap();
        s.munmap(at + 4096, 8192).unwrap();
    }),
    ("anonymous memory over a file, and the other way round", true, |s| {
        let (_, source) = volume(4);
        let file = Backing::File { source, offset: 0, shared: true };
        let at = map(s, 0, 16384, Prot::RW, file.clone(), false).unwrap();
        map(s, at + 4096, 4096, Prot::RW, Backing::Anon, true).unwrap();
        dirty(s);
        let at = map(s, 0, 16384, Prot::RW, Backing::Anon, false).unwrap();
        dirty(s);
        map(s, at + 4096, 8192, Prot::RW, file, true).unwrap();
    }),
    ("moved and grown mappings", true, |s| {
        let at = map(s, 0, 4 * PAGE, Prot::RW, Backing::Anon, false).unwrap();
        dirty(s);
        let at = s.mremap(at, 4 * PAGE, 40 * PAGE, true, None, false).unwrap();
        dirty(s);
        s.mremap(at, 40 * PAGE, PAGE, true, Some(0x6000_0000), false).unwrap();
        dirty(s);
    }),
    ("a bss moved away", false, |s| {
        dirty(s);
        s.mremap(BSS, PAGE, PAGE, true, Some(0x6000_0000), false).unwrap();
    }),
    ("data mapped over", false, |s| {
        map(s, DATA, PAGE, Prot::RW, Backing::Anon, true).unwrap();
        dirty(s);
    }),
    ("a file over the bss", false, |s| {
        let (_, source) = volume(5);
        map(s, BSS, PAGE, Prot::RW, Backing::File { source, offset: 0, shared: true }, true).unwrap();
    }),
    ("part of the stack unmapped", false, |s| {
        dirty(s);
        s.munmap(STACK - 5 * PAGE, PAGE).unwrap();
    }),
    ("text made data", false, |s| {
        s.mprotect(TEXT, PAGE, Prot::RW).unwrap();
        dirty(s);
    }),
    ("pages of the data dropped", false, |s| {
        dirty(s);
        s.madvise(DATA, PAGE, libc::MADV_DONTNEED).unwrap();
    }),
    ("many small mappings", false, |s| {
        for i in 0..40 {
            map(s, 0x5000_0000 + i * 4 * PAGE, PAGE, Prot::RW, Backing::Anon, true).unwrap();
        }
        dirty(s);
    }),
];

/// Where the deeds above leave something.
const HAUNTS: &[(u64, u64)] =
    &[(HEAP, 1000 * PAGE), (0x5000_0000, 200 * PAGE), (0x6000_0000, 64 * PAGE), (0xff60_0000, 400 * PAGE)];

fn only_new_things(w: &World) -> (Seen, Seen) {
    let k = &w.kernel;
    let (a, rsp_a) = load(k, "/bin/a");
    let (b, rsp_b) = load(k, "/bin/b");
    let want = (seen(&a, rsp_a), seen(&b, rsp_b));
    assert_eq!(want.0.bytes[0].1[..4], [1; 4]);
    assert_eq!(want.1.bytes[0].1[..4], [2; 4]);
    want
}

#[test]
fn nothing_of_a_process_is_left_for_the_next() {
    let w = world();
    let k = &w.kernel;
    let (want_a, want_b) = only_new_things(&w);
    for &(name, kept, deed) in DEEDS {
        let (mut s, _) = load(k, "/bin/a");
        let slot = s.slot().memory0();
        let before = k.slots.kept();
        deed(&mut s);
        s.slot().poll_word().store(megalith_abi::POLL_WANTED, std::sync::atomic::Ordering::Relaxed);
        drop(s);
        assert_eq!(k.slots.kept(), before + usize::from(kept), "{name}");
        // The same program next, in the same slot; then another; then the first again.
        let (mut s, rsp) = load(k, "/bin/a");
        assert!(!kept || s.slot().memory0() == slot, "{name}: the slot is used again");
        assert!(seen(&s, rsp) == want_a, "{name}: the next process");
        free_memory_is_empty(&mut s, HAUNTS);
        drop(s);
        let (mut s, rsp) = load(k, "/bin/b");
        assert!(seen(&s, rsp) == want_b, "{name}: another program");
        free_memory_is_empty(&mut s, HAUNTS);
        drop(s);
        deed(&mut load(k, "/bin/b").0);
        let (s, rsp) = load(k, "/bin/a");
        assert!(seen(&s, rsp) == want_a, "{name}: after another program");
    }
}

/// What is committed is what the tree of areas says, and all of it comes back.
#[test]
fn commitments_follow_the_areas() {
    let w = world();
    let k = &w.kernel;
    let before = k.budget.committed();
    let writable = |s: &AddressSpace| -> u64 {
        let private = |v: &Vma| !matches!(v.backing, Backing::File { shared: true, .. });
        s.areas().filter(|(_, v)| v.prot.has(Prot::WRITE) && private(v)).map(|(a, v)| v.end - a).sum()
    };
    for &(name, _, deed) in DEEDS {
        let (mut s, _) = load(k, "/bin/a");
        deed(&mut s);
        assert_eq!(k.budget.committed() - before, writable(&s), "{name}");
        let program = k
            .config
            .programs
            .iter()
            .find(|p| p.entry_point == "a_start")
            .unwrap_or_else(|| k.config.programs.iter().find(|p| p.abi == Abi::Linux).unwrap());
        let child = s.fork(&k.slots, 0, program).unwrap();
        assert_eq!(k.budget.committed() - before, writable(&s) + writable(&child), "{name}: forked");
        drop(child);
        s.condemn().unwrap();
        assert_eq!(k.budget.committed(), before, "{name}: condemned");
        assert_eq!((s.resident(), s.areas().count()), (0, 0), "{name}");
        drop(s);
        assert_eq!(k.budget.committed(), before, "{name}: gone");
    }
}

#[test]
fn no_more_is_committed_than_there_can_be() {
    let pool = SlotPool::new(4, 0);
    let budget = Budget::new(Some(1 << 20), 3 << 20);
    let mut s = AddressSpace::new(&pool, &budget).unwrap();
    let at = map(&mut s, 0x5000_0000, 3 << 20, Prot::RW, Backing::Anon, true).unwrap();
    map(&mut s, 0x6000_0000, 64 << 20, Prot::NONE, Backing::Anon, true).unwrap();
    map(&mut s, 0x7000_0000, 64 << 20, Prot::READ, Backing::Anon, true).unwrap();
    assert_eq!(map(&mut s, 0x5800_0000, 2 << 20, Prot::RW, Backing::Anon, true), Err(Errno::ENOMEM));
    assert_eq!(s.mprotect(0x6000_0000, 2 << 20, Prot::RW), Err(Errno::ENOMEM));
    assert_eq!(s.mremap(at, 3 << 20, 5 << 20, true, None, false), Err(Errno::ENOMEM));
    assert!(s.fork(&pool, 0, world().kernel.config.programs.iter().next().unwrap()).is_err());
    assert_eq!(budget.committed(), 3 << 20, "what was refused is not counted");
    s.mprotect(0x6000_0000, 1 << 20, Prot::RW).unwrap();
    s.munmap(at, 2 << 20).unwrap();
    s.mprotect(0x6000_0000, 3 << 20, Prot::RW).unwrap();
    assert_eq!(budget.committed(), 4 << 20);
    drop(s);
    assert_eq!(budget.committed(), 0);
}

/// The memory of the WASI module: below, over and behind what the other programs map at their load address.
const LINEAR: u64 = 0x42_0000;

/// A WASI process as its instance begins.
fn load_wasi(k: &Kernel) -> AddressSpace {
    let (mut s, _) = load(k, "/bin/w");
    let program = k.config.programs.iter().find(|p| p.abi == Abi::Wasi).unwrap();
    s.map_linear(LINEAR, program.data_image().unwrap()).unwrap();
    s
}

/// The program at `path` in the slot at `slot`, which must be the next empty one.
#[track_caller]
fn load_into(k: &Kernel, path: &str, slot: *mut u8) -> (AddressSpace, u64) {
    let mut others = Vec::new();
    while others.len() < 20 {
        let (s, rsp) = load(k, path);
        if s.slot().memory0() == slot {
            return (s, rsp);
        }
        // It had a start image. Hold it, until there is none left.
        others.push(s);
    }
    panic!("the slot is not used again");
}

#[test]
fn nothing_is_left_between_wasi_and_recompiled_programs() {
    let w = world();
    let k = &w.kernel;
    let (want_a, want_b) = only_new_things(&w);
    let wasi = seen(&load_wasi(k), u64::MAX);
    assert!(wasi.bytes.iter().any(|(a, b)| *a == TEXT && b.iter().all(|&b| b == 7)));
    assert!(wasi.bytes.iter().all(|(a, b)| *a == TEXT || b.iter().all(|&b| b == 0)));
    assert_eq!(wasi.mapped.first().map(|m| m.0), Some(0));
    assert!(wasi.code.iter().all(|&b| b == 0));
    let around = [(0x1_0000, TEXT - 0x1_0000), (HEAP, 0x60_0000 - HEAP), (0x5000_0000, 200 * PAGE)];
    for &(name, kept, deed) in DEEDS {
        // A WASI process after another program: only in a slot that was mapped over.
        let (mut s, _) = load(k, "/bin/a");
        let slot = s.slot().memory0();
        deed(&mut s);
        s.slot().poll_word().store(megalith_abi::POLL_WANTED, std::sync::atomic::Ordering::Relaxed);
        drop(s);
        let mut s = load_wasi(k);
        assert_eq!(s.slot().memory0() == slot, !kept, "{name}: the slot");
        assert!(seen(&s, u64::MAX) == wasi, "{name}: a WASI process next");
        free_memory_is_empty(&mut s, HAUNTS);
        // Other programs after it.
        for (path, want) in [("/bin/a", &want_a), ("/bin/b", &want_b)] {
            let slot = s.slot().memory0();
            s.grow_linear(LINEAR, 0x60_0000).unwrap();
            dirty(&s);
            s.slot().poll_word().store(megalith_abi::POLL_WANTED, std::sync::atomic::Ordering::Relaxed);
            let before = k.slots.kept();
            drop(s);
            assert_eq!(k.slots.kept(), before, "a WASI process leaves no start image");
            let (mut next, rsp) = load_into(k, path, slot);
            assert!(seen(&next, rsp) == *want, "{path} after a WASI process");
            free_memory_is_empty(&mut next, &around);
            dirty(&next);
            // Not to be kept: the next WASI process gets it.
            next.munmap(STACK - 5 * PAGE, PAGE).unwrap();
            drop(next);
            s = load_wasi(k);
            assert_eq!(s.slot().memory0(), slot);
            assert!(seen(&s, u64::MAX) == wasi, "a WASI process after {path}");
        }
    }
}

/// The same after any mixture of calls.
#[test]
fn nothing_is_left_after_a_mixture() {
    let w = world();
    let k = &w.kernel;
    let (want, _) = only_new_things(&w);
    let (file, source) = volume(9);
    let mut state = 1u64;
    let mut random = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut reused = 0;
    for round in 0..120 {
        let (mut s, rsp) = load(k, "/bin/a");
        assert!(seen(&s, rsp) == want, "round {round}");
        for _ in 0..random(8) {
            // Mostly beside the program, sometimes in it.
            let at = match random(8) {
                0 => TEXT + random(3) * PAGE,
                1 => STACK - random(20) * PAGE,
                2..4 => HEAP + random(8) * PAGE,
                _ => 0x5000_0000 + random(12) * PAGE,
            };
            let len = (1 + random(4)) * PAGE;
            let prot = Prot([0, 1, 3, 3][random(4) as usize]);
            let file = Backing::File { source: source.clone(), offset: 0, shared: random(2) == 0 };
            let _ = match random(8) {
                0 | 1 => map(&mut s, at, len, prot, Backing::Anon, true).map(drop),
                2 => map(&mut s, at, len, prot, file, true).map(drop),
                3 => s.munmap(at, len),
                4 => s.mprotect(at, len, prot),
                5 => s.mremap(at, len, (1 + random(6)) * PAGE, true, None, random(4) == 0).map(drop),
                6 => s.madvise(at, len, libc::MADV_DONTNEED),
                _ => {
                    s.set_brk(HEAP + random(9) * PAGE);
                    Ok(())
                }
            };
            dirty(&s);
        }
        // What a fork child gets is what its parent has, in a new slot and in a used one.
        for _ in 0..2 {
            let image = k.config.programs.iter().find(|p| p.entry_point == "p1_start").unwrap();
            let child = s.fork(&k.slots, 0, image).unwrap();
            reused += usize::from(child.slot().memory0() != s.slot().memory0());
            assert!(areas(&child) == areas(&s), "round {round}");
            assert!(mapped(&child) == mapped(&s), "round {round}: {:?} {:?}", mapped(&child), mapped(&s));
            assert!(bytes(&child, u64::MAX) == bytes(&s, u64::MAX), "round {round}");
            dirty(&child);
        }
        drop(s);
    }
    assert!(reused > 0);
    let mut b = [0; 16384];
    rustix::io::pread(&file, &mut b, 0).unwrap();
    assert!(b.iter().all(|&b| b == 9), "nobody wrote to the file");
}
