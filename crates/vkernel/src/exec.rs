//! Starting a program: its memory as Linux would map it, and the initial stack (`fs/binfmt_elf.c`).
//!
//! There is no ELF loader: which bytes go where was recorded at build time, and they come from the sealed file of the program's hash.

use crate::cpuid;
use crate::errno::{Errno, Result};
use crate::gate;
use crate::kernel::Kernel;
use crate::mm::{self, AddressSpace, Backing, Label, MapRequest, MapSource, PAGE, Prot};
use crate::process::{FsState, Ids, Image, Rlimits};
use crate::program::{Abi, Hash, Program};
use crate::snapshot::{Opened, Resumed, Snapshot};
use megalith_abi::{PIE_BASE, shebang};
use megalith_vfs::{Access, At, Location, Vfs, WalkFlags};
use std::sync::Arc;

/// Longest single argument with its NUL (`MAX_ARG_STRLEN`).
pub const ARG_MAX_ONE: usize = 131_072;

/// Room for arguments and environment: man 2 execve, "Limits on size of arguments and environment".
pub struct ArgRoom(u64);

impl ArgRoom {
    /// A quarter of the soft RLIMIT_STACK, but at least 128 KiB and at most 6 MiB.
    pub fn new(limits: &Rlimits) -> ArgRoom {
        ArgRoom((limits[3].0 / 4).clamp(131_072, 6 << 20))
    }
    /// Room for the name of the file, without its NUL; `E2BIG`.
    pub fn name(&mut self, name: &[u8]) -> Result<()> {
        self.bytes(name.len() + 1)
    }
    /// Room for a string, without its NUL, and the pointer to it; `E2BIG`.
    pub fn string(&mut self, s: &[u8]) -> Result<()> {
        if s.len() >= ARG_MAX_ONE { Err(Errno::E2BIG) } else { self.bytes(s.len() + 1 + size_of::<u64>()) }
    }
    fn bytes(&mut self, n: usize) -> Result<()> {
        self.0 = self.0.checked_sub(n as u64).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

/// What execve(2) was asked for.
pub struct ExecRequest {
    pub path: Vec<u8>,
    /// Where a relative path starts.
    pub base: Location,
    /// The file itself, when it was given by descriptor (AT_EMPTY_PATH).
    pub location: Option<Location>,
    /// The hash that the file must have; it need not be marked as executable then.
    pub expect: Option<Hash>,
    pub argv: Vec<Vec<u8>>,
    pub envp: Vec<Vec<u8>>,
}

/// A program ready to run.
pub struct Loaded {
    pub program: Arc<Program>,
    pub space: AddressSpace,
    pub rsp: u64,
    pub image: Image,
    /// The rest of the snapshot that it begins from.
    pub resumed: Option<Resumed>,
}

/// Finds a command as a shell would: its path, relative to `at`.
///
/// # Errors
/// As path_resolution(7); `EACCES` when what stands in PATH may not be executed.
pub fn search_path(vfs: &Vfs, at: &At<'_>, name: &[u8], envp: &[Vec<u8>]) -> Result<Vec<u8>> {
    if name.contains(&b'/') {
        vfs.lookup(at, name, WalkFlags::FOLLOW)?;
        return Ok(name.to_vec());
    }
    let mut error = Errno::ENOENT;
    for p in shebang::candidates(name, envp) {
        match vfs.lookup(at, &p, WalkFlags::FOLLOW).and_then(|l| at.cred.check(&l.inode().stat()?, Access::EXEC)) {
            Ok(()) => return Ok(p),
            Err(Errno::EACCES) => error = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(error)
}

/// Passes a request through the gate and makes the memory of the program that comes out.
pub fn load(k: &Kernel, fs: &FsState, ids: &Ids, limits: &Rlimits, q: &ExecRequest) -> Result<Loaded> {
    let cred = ids.fs();
    let location = match &q.location {
        Some(l) => l.clone(),
        None => k.vfs.lookup(&At { root: &fs.root, base: &q.base, cred: &cred }, &q.path, WalkFlags::FOLLOW)?,
    };
    let passed = gate::check(k, &fs.root, &fs.cwd, &cred, q, location)?;
    let mut argv = passed.prefix;
    if argv.is_empty() {
        argv = q.argv.clone();
        if argv.is_empty() {
            argv.push(Vec::new());
        }
    } else {
        argv.extend(q.argv.iter().skip(1).cloned());
    }
    let (envp, name) = passed.env.as_ref().map_or((&q.envp, &q.path), |(envp, name)| (envp, name));
    let mut room = ArgRoom::new(limits);
    room.name(name)?;
    argv.iter().chain(envp).try_for_each(|s| room.string(s))?;
    let scripts = passed.scripts.into_iter().map(Arc::new).collect();
    let start = Beginning { program: passed.program, exe: passed.location, argv: &argv, envp, name, scripts };
    begin(k, fs, ids, limits, start, k.config.fixed.is_none())
}

/// The program of `image` from its file, with the same arguments and environment, though it has a snapshot.
pub fn load_cold(k: &Kernel, fs: &FsState, ids: &Ids, limits: &Rlimits, image: &Image) -> Result<Loaded> {
    let strings = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|&c| c == 0).map(|s| s.strip_suffix(&[0]).unwrap_or(s).to_vec()).collect()
    };
    let (argv, envp) = (strings(&image.cmdline), strings(&image.environ));
    let start = Beginning {
        program: Arc::clone(&image.program),
        exe: image.exe.clone(),
        argv: &argv,
        envp: &envp,
        name: &image.exe.path(None),
        scripts: Arc::clone(&image.scripts),
    };
    begin(k, fs, ids, limits, start, false)
}

/// A start that has passed the gate.
struct Beginning<'a> {
    program: Arc<Program>,
    exe: Location,
    argv: &'a [Vec<u8>],
    envp: &'a [Vec<u8>],
    name: &'a [u8],
    scripts: Arc<[Arc<gate::Script>]>,
}

/// Makes the memory of a program. `warm`: from its snapshot, if it has one.
fn begin(k: &Kernel, fs: &FsState, ids: &Ids, limits: &Rlimits, b: Beginning<'_>, warm: bool) -> Result<Loaded> {
    let Beginning { program, exe, argv, envp, name, scripts } = b;
    let mut resumed = None;
    let (space, stack) = match program.abi {
        Abi::Linux => {
            let meta = program.meta().map_err(|why| {
                k.audit(why);
                Errno::EIO
            })?;
            program.check_source(exe.inode().sealed_place()).inspect_err(|_| {
                k.audit(&format!(
                    "the container's own file of {} does not match its hash; build the bundle again",
                    program.entry_point
                ));
            })?;
            let base = if meta.fixed { 0 } else { u64::from(PIE_BASE) };
            let mut random = [0u8; 16];
            k.fill_random(&mut random)?;
            let snapshot = match program.snapshot.as_ref().filter(|_| warm) {
                None => None,
                Some(s) => Some((
                    s,
                    s.open().inspect_err(|_| {
                        k.audit(&format!(
                            "the snapshot of {} does not match its hash; build the bundle again",
                            program.entry_point
                        ));
                    })?,
                )),
            };
            let (mut space, top) = match snapshot {
                Some((s, opened)) => {
                    let mut space = map_snapshot(k, &program, s, opened, base, &exe, limits)?;
                    let top = argument_area(&mut space, argv, envp, name)?;
                    (space, top)
                }
                None => map(k, &program, base, &exe, limits)?,
            };
            let stack = build_stack(&mut space, top, &program, base, ids, argv, envp, name, random)?;
            if let Some((_, opened)) = snapshot {
                resumed = Some(opened.state.resumed(stack.rsp)?);
            }
            (space, stack)
        }
        // Its memory comes with its instance, and it asks for arguments and environment.
        Abi::Wasi => (empty(k, limits)?, Stack { rsp: 0, auxv: Vec::new() }),
    };
    let comm = name.rsplit(|&c| c == b'/').next().unwrap_or_default();
    let join = |v: &[Vec<u8>]| -> Arc<[u8]> { v.iter().flat_map(|s| s.iter().copied().chain([0])).collect() };
    let image = Image {
        program: Arc::clone(&program),
        comm: comm.get(..15).unwrap_or(comm).to_vec(),
        cmdline: join(argv),
        environ: join(envp),
        exe,
        auxv: stack.auxv.into(),
        scripts,
        cwd_at_exec: fs.cwd.clone(),
        start_stack: stack.rsp,
    };
    Ok(Loaded { program, space, rsp: stack.rsp, image, resumed })
}

/// The memory of a snapshot, on a slot that has it already if there is one.
fn map_snapshot(
    k: &Kernel,
    program: &Program,
    snapshot: &Snapshot,
    opened: &Opened,
    base: u64,
    exe: &Location,
    limits: &Rlimits,
) -> Result<AddressSpace> {
    let (path, ino) = (exe.path(None), exe.inode().id().ino);
    let image = snapshot.remembered().filter(|i| i.fits(&path, ino, None));
    let ready = match image {
        Some(image) => AddressSpace::warm(&k.slots, &k.budget, &image, (limits[9].0, limits[2].0))?,
        None => None,
    };
    match ready {
        Some(space) => Ok(space),
        None => {
            let mut space = empty(k, limits)?;
            space.map_snapshot(&opened.state, &program_file(program, path.into(), ino), &opened.source)?;
            space.map_code(base, program)?;
            space.record_image(&snapshot.start_image);
            Ok(space)
        }
    }
}

/// Memory for what otherwise lies above the initial stack. Returns one past its last byte.
fn argument_area(space: &mut AddressSpace, argv: &[Vec<u8>], envp: &[Vec<u8>], name: &[u8]) -> Result<u64> {
    let strings: usize = argv.iter().chain(envp).map(|s| s.len() + 1 + size_of::<u64>()).sum();
    // The auxiliary vector and what it points to take less than a page.
    let len = (strings + name.len() + 1) as u64 + PAGE;
    let addr = space.mmap(MapRequest {
        addr: 0,
        len,
        prot: Prot::RW,
        backing: Backing::Anon,
        fixed: false,
        no_replace: false,
        label: Label::None,
        may_write: true,
        text: false,
    })?;
    Ok(addr + len.next_multiple_of(PAGE))
}

/// The start image of a program, on a slot that has it already if there is one. Returns one past the last byte of the stack, too.
fn map(k: &Kernel, program: &Program, base: u64, exe: &Location, limits: &Rlimits) -> Result<(AddressSpace, u64)> {
    let stack = AddressSpace::stack_size(limits[3].0.min(8 << 20));
    let (path, ino) = (exe.path(None), exe.inode().id().ino);
    if let Some(image) = mm::remembered(program, &path, ino, stack)
        && let Some(space) = AddressSpace::warm(&k.slots, &k.budget, &image, (limits[9].0, limits[2].0))?
    {
        return Ok((space, u64::from(megalith_abi::ADDR_LIMIT)));
    }
    let mut space = empty(k, limits)?;
    map_program(&mut space, program, base, path.into(), ino)?;
    let top = space.map_stack(stack)?;
    space.record_image(&program.start_image);
    Ok((space, top))
}

/// An address space in which nothing is mapped yet.
fn empty(k: &Kernel, limits: &Rlimits) -> Result<AddressSpace> {
    let mut space = AddressSpace::new(&k.slots, &k.budget)?;
    space.limit_as = limits[9].0;
    space.limit_data = limits[2].0;
    Ok(space)
}

/// The program's own file, to map its segments from, under the path and number of the file that was started.
pub(crate) fn program_file(program: &Program, path: Arc<[u8]>, ino: u64) -> MapSource {
    MapSource {
        fd: Arc::clone(&program.source.fd),
        owner: None,
        base: program.source.offset,
        size: program.source.len,
        sealed: true,
        truncatable: false,
        anonymous: None,
        path,
        ino,
        host: None,
    }
}

/// Maps the segments and enters the text into the code map.
fn map_program(space: &mut AddressSpace, program: &Program, base: u64, path: Arc<[u8]>, ino: u64) -> Result<()> {
    let meta = program.known_meta()?;
    let source = program_file(program, path, ino);
    let mut brk = 0;
    for s in &meta.segments {
        let bad = Errno::ENOEXEC;
        let start = s.vaddr.checked_add(base).ok_or(bad)?;
        let file_end = start.checked_add(s.file_size).ok_or(bad)?;
        let mem_end = start.checked_add(s.mem_size.max(s.file_size)).ok_or(bad)?;
        if mem_end > u64::from(megalith_abi::ADDR_LIMIT)
            || s.file_offset.checked_add(s.file_size).is_none_or(|e| e > program.source.len)
            || s.file_offset % PAGE != start % PAGE
        {
            return Err(bad);
        }
        let prot = Prot(u32::from(s.read) | u32::from(s.write) << 1 | u32::from(s.exec) << 2);
        let text = s.exec && !s.write;
        if s.exec && s.write {
            return Err(Errno::EACCES);
        }
        let page = start & !(PAGE - 1);
        let mut mapped = page;
        let map = |space: &mut AddressSpace, addr: u64, end: u64, prot, backing| {
            space.mmap(MapRequest {
                addr,
                len: end - addr,
                prot,
                backing,
                fixed: true,
                no_replace: false,
                label: Label::None,
                may_write: true,
                text,
            })
        };
        if s.file_size > 0 {
            let offset = s.file_offset - (start - page);
            map(space, page, file_end, prot, Backing::File { source: source.clone(), offset, shared: false })?;
            mapped = file_end.next_multiple_of(PAGE);
            let tail = mapped.min(mem_end).saturating_sub(file_end);
            if tail > 0 && s.write {
                space.write(file_end, &vec![0; (mapped - file_end) as usize])?;
            }
        }
        if mem_end > mapped {
            map(space, mapped, mem_end, Prot(prot.0 & 3), Backing::Anon)?;
        }
        brk = brk.max(mem_end);
    }
    space.set_brk_start(brk);
    space.map_code(base, program)
}

struct Stack {
    rsp: u64,
    auxv: Vec<u8>,
}

/// Lays out strings, auxv, envp, argv and argc below `top`.
#[expect(clippy::too_many_arguments, reason = "the parts of an initial stack, used once")]
fn build_stack(
    space: &mut AddressSpace,
    top: u64,
    program: &Program,
    base: u64,
    ids: &Ids,
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
    exec_name: &[u8],
    random: [u8; 16],
) -> Result<Stack> {
    // Strings, from low to high: argv, envp, the file's name; then 8 zero bytes at the very top.
    let mut strings: Vec<u8> = Vec::new();
    let mut offsets = Vec::with_capacity(argv.len() + envp.len());
    for s in argv.iter().chain(envp) {
        offsets.push(strings.len() as u64);
        strings.extend_from_slice(s);
        strings.push(0);
    }
    let name_offset = strings.len() as u64;
    strings.extend_from_slice(exec_name);
    strings.push(0);
    // A small stack has no room for what the limit allows.
    let words = (argv.len() + envp.len() + 64) as u64 * 8;
    let fits = space.find(top - 1).is_some_and(|(low, _)| strings.len() as u64 + words <= top - low);
    if !fits {
        return Err(Errno::E2BIG);
    }
    let strings_at = top - 8 - strings.len() as u64;
    space.write(strings_at, &strings)?;
    let platform_at = (strings_at - 16) & !15;
    space.write(platform_at, b"x86_64\0")?;
    let random_at = platform_at - 16;
    space.write(random_at, &random)?;
    let meta = program.known_meta()?;
    let (phdr, phent, phnum) = meta.phdr;
    let mut aux: Vec<(u64, u64)> = Vec::new();
    if phdr != 0 {
        aux.extend([(3, phdr.wrapping_add(base)), (4, phent.into()), (5, phnum.into())]);
    }
    aux.extend([
        (16, u64::from(cpuid::FEATURES_EDX)),
        (6, PAGE),
        (17, 100),
        (7, 0),
        (8, 0),
        (9, meta.entry.wrapping_add(base)),
        (11, ids.ruid.into()),
        (12, ids.euid.into()),
        (13, ids.rgid.into()),
        (14, ids.egid.into()),
        (23, 0),
        (25, random_at),
        (26, 0),
        (31, strings_at + name_offset),
        (15, platform_at),
        (0, 0),
    ]);
    let mut words: Vec<u64> = vec![argv.len() as u64];
    words.extend(offsets.iter().take(argv.len()).map(|o| strings_at + o));
    words.push(0);
    words.extend(offsets.iter().skip(argv.len()).map(|o| strings_at + o));
    words.push(0);
    let auxv: Vec<u8> = aux.iter().flat_map(|&(k, v)| [k, v]).flat_map(u64::to_le_bytes).collect();
    words.extend(aux.iter().flat_map(|&(k, v)| [k, v]));
    let rsp = (random_at - words.len() as u64 * 8) & !15;
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    space.write(rsp, &bytes)?;
    Ok(Stack { rsp, auxv })
}
