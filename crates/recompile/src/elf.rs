//! Reads what recompilation needs of an ELF file: segments, entry, and hints where code starts.
//!
//! Follows the System V ABI (gABI chapters 4 and 5) and its AMD64 supplement. The input is hostile: every offset is checked.

use crate::Error;
use gimli::UnwindSection;
use megalith_abi::{ADDR_LIMIT, MMAP_MIN_ADDR, PIE_BASE, Segment};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader, Sym};
use std::collections::BTreeMap;
use std::ops::Range;

type Endian = object::LittleEndian;
type Header = elf::FileHeader64<Endian>;

/// An ELF file, read and checked.
pub struct Image {
    /// True for ET_EXEC.
    pub fixed: bool,
    pub entry: u32,
    pub phdr: (u64, u16, u16),
    pub exec_stack: bool,
    pub segments: Vec<Segment>,
    /// Bytes of each segment, zero-filled file part only, in the order of `segments`.
    data: Vec<Vec<u8>>,
    /// Address range that holds all executable segments.
    pub text: Range<u32>,
    /// Function ranges from `.eh_frame`, sorted.
    pub fdes: Vec<Range<u32>>,
    /// Function symbols: address to name.
    pub symbols: BTreeMap<u32, String>,
    /// Code addresses from relocations and init arrays.
    pub code_pointers: Vec<u32>,
    /// Slots that IRELATIVE relocations fill in: address of the slot to address of the resolver.
    pub irelative: BTreeMap<u32, u32>,
    /// A piece of code without a file around it.
    pub snippet: bool,
}

fn broken(what: impl Into<String>) -> Error {
    Error::Broken(what.into())
}

impl Image {
    pub fn parse(file: &[u8]) -> Result<Image, Error> {
        let header = Header::parse(file).map_err(|_| Error::NotElf("no ELF64 header"))?;
        let endian = header.endian().map_err(|_| Error::NotElf("not little endian"))?;
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(Error::NotElf("machine is not x86-64"));
        }
        let fixed = match header.e_type(endian) {
            elf::ET_EXEC => true,
            elf::ET_DYN => false,
            _ => return Err(Error::NotElf("neither ET_EXEC nor ET_DYN")),
        };
        let phdrs = header.program_headers(endian, file).map_err(|e| broken(format!("program headers: {e}")))?;
        let mut segments = Vec::new();
        let mut data = Vec::new();
        let mut exec_stack = false;
        let mut phdr_addr = 0;
        let phoff = header.e_phoff(endian);
        let base = if fixed { 0 } else { u64::from(PIE_BASE) };
        for ph in phdrs {
            match ph.p_type(endian) {
                elf::PT_LOAD => {
                    let s = Segment {
                        vaddr: ph.p_vaddr(endian),
                        file_offset: ph.p_offset(endian),
                        file_size: ph.p_filesz(endian),
                        mem_size: ph.p_memsz(endian),
                        read: ph.p_flags(endian) & elf::PF_R != 0,
                        write: ph.p_flags(endian) & elf::PF_W != 0,
                        exec: ph.p_flags(endian) & elf::PF_X != 0,
                    };
                    if s.mem_size == 0 {
                        continue;
                    }
                    if s.file_size > s.mem_size {
                        return Err(broken("a segment's file size exceeds its memory size"));
                    }
                    if s.vaddr % 4096 != s.file_offset % 4096 {
                        return Err(broken("a segment's address and offset disagree modulo the page size"));
                    }
                    let end =
                        s.vaddr.checked_add(s.mem_size).and_then(|e| e.checked_add(base)).ok_or(Error::Address)?;
                    if end > u64::from(ADDR_LIMIT) || s.vaddr + base < u64::from(MMAP_MIN_ADDR) {
                        return Err(Error::Address);
                    }
                    let bytes = ph.data(endian, file).map_err(|()| broken("a segment lies outside the file"))?;
                    if phoff >= s.file_offset && phoff < s.file_offset + s.file_size {
                        phdr_addr = s.vaddr + (phoff - s.file_offset);
                    }
                    if let Some(last) = segments.last() {
                        let last: &Segment = last;
                        if last.vaddr + last.mem_size > s.vaddr {
                            return Err(broken("segments overlap or are out of order"));
                        }
                    }
                    segments.push(s);
                    data.push(bytes.to_vec());
                }
                elf::PT_INTERP => {
                    let path = ph.data(endian, file).unwrap_or(b"?");
                    let path = path.split(|&b| b == 0).next().unwrap_or(b"?");
                    return Err(Error::Dynamic(String::from_utf8_lossy(path).into_owned()));
                }
                elf::PT_GNU_STACK => exec_stack = ph.p_flags(endian) & elf::PF_X != 0,
                _ => {}
            }
        }
        let exec: Vec<&Segment> = segments.iter().filter(|s| s.exec).collect();
        let (Some(first), Some(last)) = (exec.first(), exec.last()) else {
            return Err(broken("no executable segment"));
        };
        let text = (first.vaddr & !4095) as u32..(last.vaddr + last.mem_size) as u32;
        if text.len() > 256 << 20 {
            return Err(broken("more than 256 MiB of text"));
        }
        let entry = header.e_entry(endian);
        let mut image = Image {
            fixed,
            entry: u32::try_from(entry).map_err(|_| Error::Address)?,
            phdr: (phdr_addr, header.e_phentsize(endian), header.e_phnum(endian)),
            exec_stack,
            segments,
            data,
            text,
            fdes: Vec::new(),
            symbols: BTreeMap::new(),
            code_pointers: Vec::new(),
            irelative: BTreeMap::new(),
            snippet: false,
        };
        if !image.is_code(image.entry) {
            return Err(broken("the entry point lies outside the executable segments"));
        }
        image.read_sections(header, endian, file);
        Ok(image)
    }

    /// An image that consists of `code` at `addr`.
    pub fn snippet(code: &[u8], addr: u32) -> Result<Image, Error> {
        let len = code.len() as u64;
        if u64::from(addr) + len > u64::from(ADDR_LIMIT) || code.is_empty() {
            return Err(Error::Address);
        }
        Ok(Image {
            fixed: true,
            entry: addr,
            phdr: (0, 0, 0),
            exec_stack: false,
            segments: vec![Segment {
                vaddr: u64::from(addr),
                file_offset: u64::from(addr % 4096),
                file_size: len,
                mem_size: len,
                read: true,
                write: false,
                exec: true,
            }],
            data: vec![code.to_vec()],
            text: addr & !4095..addr + code.len() as u32,
            fdes: Vec::new(),
            symbols: BTreeMap::new(),
            code_pointers: Vec::new(),
            irelative: BTreeMap::new(),
            snippet: true,
        })
    }

    /// Whether `addr` lies in the file part of an executable segment.
    pub fn is_code(&self, addr: u32) -> bool {
        self.segments.iter().any(|s| s.exec && u64::from(addr).wrapping_sub(s.vaddr) < s.file_size)
    }

    /// Bytes from `addr` to the end of its segment's file part; empty when nothing lies there.
    pub fn bytes(&self, addr: u32) -> &[u8] {
        for (s, d) in self.segments.iter().zip(&self.data) {
            if let Some(off) = u64::from(addr).checked_sub(s.vaddr)
                && off < d.len() as u64
            {
                return d.get(off as usize..).unwrap_or(&[]);
            }
        }
        &[]
    }

    /// Segments with their file bytes.
    pub fn loaded(&self) -> impl Iterator<Item = (&Segment, &[u8])> {
        self.segments.iter().zip(self.data.iter().map(Vec::as_slice))
    }

    pub fn read_u32(&self, addr: u32) -> Option<u32> {
        self.bytes(addr).first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
    }

    pub fn read_u64(&self, addr: u32) -> Option<u64> {
        self.bytes(addr).first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
    }

    /// The FDE range that `addr` lies in.
    pub fn fde_of(&self, addr: u32) -> Option<&Range<u32>> {
        let i = self.fdes.partition_point(|r| r.start <= addr);
        let r = self.fdes.get(i.checked_sub(1)?)?;
        r.contains(&addr).then_some(r)
    }

    /// Sections are hints: what is missing or broken among them is skipped.
    fn read_sections(&mut self, header: &Header, endian: Endian, file: &[u8]) {
        let Ok(sections) = header.sections(endian, file) else { return };
        for section in sections.iter() {
            if let Ok(Some((relas, _))) = section.rela(endian, file) {
                for rela in relas {
                    let kind = rela.r_type(endian, false);
                    if kind == elf::R_X86_64_RELATIVE || kind == elf::R_X86_64_IRELATIVE {
                        let target = rela.r_addend(endian);
                        if let Ok(a) = u32::try_from(target)
                            && self.is_code(a)
                        {
                            self.code_pointers.push(a);
                            if kind == elf::R_X86_64_IRELATIVE
                                && let Ok(slot) = u32::try_from(rela.r_offset(endian))
                            {
                                self.irelative.insert(slot, a);
                            }
                        }
                    }
                }
            }
        }
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let Ok(table) = sections.symbols(endian, file, kind) else { continue };
            for sym in table.iter() {
                let st = sym.st_type();
                if (st == elf::STT_FUNC || st == elf::STT_GNU_IFUNC)
                    && let Ok(a) = u32::try_from(sym.st_value(endian))
                    && self.is_code(a)
                    && let Ok(name) = sym.name(endian, table.strings())
                {
                    self.symbols.entry(a).or_insert_with(|| String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        if let Some((_, section)) = sections.section_by_name(endian, b".eh_frame")
            && let Ok(data) = section.data(endian, file)
        {
            self.fdes = read_fdes(data, section.sh_addr(endian), |a| self.is_code(a));
        }
    }
}

fn read_fdes(data: &[u8], addr: u64, is_code: impl Fn(u32) -> bool) -> Vec<Range<u32>> {
    let eh = gimli::EhFrame::new(data, gimli::LittleEndian);
    let bases = gimli::BaseAddresses::default().set_eh_frame(addr);
    let mut entries = eh.entries(&bases);
    let mut out = Vec::new();
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(|_, bases, offset| eh.cie_from_offset(bases, offset)) else { continue };
        let (Ok(start), Ok(len)) = (u32::try_from(fde.initial_address()), u32::try_from(fde.len())) else { continue };
        if len > 0
            && is_code(start)
            && let Some(end) = start.checked_add(len)
        {
            out.push(start..end);
        }
    }
    out.sort_by_key(|r| r.start);
    out.dedup();
    out
}
