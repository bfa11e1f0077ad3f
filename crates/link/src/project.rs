//! Cutting one file's part out of a megabinary.

use crate::assemble::{Assembler, Maps, Poll};
use crate::layout::{ObjectUnit, Part, Span, Units, WasiUnit};
use crate::merge::{declare_base, declare_object_unit, declare_table, fixed_memory, share_object_unit, trampoline};
use crate::module::Module;
use crate::{Error, FS_SECTION, FileHash, MAX_MODULE, UNITS_SECTION, code, features, hex};
use megalith_abi::{DataImage, FileMeta, MAP_PAGES, PAGE_SIZE, VKERNEL_MODULE, WASI_POLL};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use wasm_encoder::{ExportKind, Instruction};
use wasmparser::{TypeRef, Validator};

/// Imports of a projection: old index -> new index, and name -> new index.
type Imported<'a> = (BTreeMap<u32, u32>, BTreeMap<&'a str, u32>);

/// A megabinary, indexed once. Function bodies are read only when they are projected, the file system never.
pub struct Megabinary<'a> {
    module: Module<'a>,
    units: Units,
}

impl<'a> Megabinary<'a> {
    /// Indexes a megabinary.
    ///
    /// # Errors
    /// [`Error::NotMegabinary`] when it is none; damage to function bodies shows in [`Megabinary::project`].
    pub fn parse(bytes: &'a [u8]) -> Result<Megabinary<'a>, Error> {
        let module = Module::parse(bytes).map_err(|e| Error::NotMegabinary(e.to_string()))?;
        let sections: Vec<_> = module.custom(UNITS_SECTION).collect();
        let [(_, payload)] = sections[..] else {
            return Err(Error::NotMegabinary(format!("it needs one {UNITS_SECTION} section")));
        };
        let units: Units =
            postcard::from_bytes(payload).map_err(|e| Error::NotMegabinary(format!("{UNITS_SECTION}: {e}")))?;
        Ok(Megabinary { module, units })
    }

    /// Where each file's part lies.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// Entry point that `_dispatch` runs for `hash`.
    pub fn entry_point(&self, hash: &FileHash) -> Option<&str> {
        self.units.hashes.iter().find(|(h, _)| h == hash).map(|(_, n)| n.as_str())
    }

    /// The encoded `FileMeta` (postcard) of the ELF file with that hash.
    pub fn file_meta_bytes(&self, hash: &FileHash) -> Option<&'a [u8]> {
        self.module.custom(FileMeta::SECTION).find_map(|(_, payload)| payload.strip_prefix(hash.as_slice()))
    }

    /// The `FileMeta` of the ELF file with that hash.
    ///
    /// # Errors
    /// [`Error::UnknownHash`], or [`Error::NotMegabinary`] when it cannot be decoded.
    pub fn file_meta(&self, hash: &FileHash) -> Result<FileMeta, Error> {
        let bytes = self.file_meta_bytes(hash).ok_or_else(|| Error::UnknownHash(hex(hash)))?;
        postcard::from_bytes(bytes).map_err(|e| Error::NotMegabinary(format!("{}: {e}", FileMeta::SECTION)))
    }

    /// Functions, and bytes of their bodies, of the program whose file has that hash; `None` for a script and for what is not there.
    pub fn code_size(&self, hash: &FileHash) -> Option<(u32, u64)> {
        let objects = self.units.objects.iter().map(|o| (&o.hash, o.part.functions));
        let mut all = objects.chain(self.units.wasi.iter().map(|w| (&w.hash, w.part.functions)));
        let (_, functions) = all.find(|(h, _)| *h == hash)?;
        let first = functions.first.checked_sub(self.module.imported_functions)? as usize;
        let bodies = self.module.bodies.get(first..first.checked_add(functions.count as usize)?)?;
        Some((functions.count, bodies.iter().map(|b| b.range().len() as u64).sum()))
    }

    /// The data image of the WASI module with that hash; `None` for other programs.
    ///
    /// # Errors
    /// [`Error::NotMegabinary`] when the segments that it is made of are not as the linker leaves them.
    pub fn data_image(&self, hash: &FileHash) -> Result<Option<DataImage>, Error> {
        let Some(unit) = self.units.wasi.iter().find(|w| w.hash == *hash) else { return Ok(None) };
        let damaged = || Error::NotMegabinary(format!("{}: its data image", unit.entry_point));
        let memory = self.module.memories.get(unit.part.memories.first as usize).map_or(0, |m| m.initial << 16);
        let segment = |&(i, to): &(u32, u32)| {
            let data = self.module.data.get(i as usize)?.data;
            let end = u64::from(to) + data.len() as u64;
            (end <= memory).then_some((u64::from(to), end, data))
        };
        let segments: Vec<_> = unit.image.iter().map(segment).collect::<Option<_>>().ok_or_else(damaged)?;
        let page = u64::from(PAGE_SIZE);
        let low = segments.iter().map(|s| s.0).min().unwrap_or(0) / page * page;
        let high = segments.iter().map(|s| s.1).max().unwrap_or(0).next_multiple_of(page);
        let len = usize::try_from(high - low.min(high)).map_err(|_| damaged())?;
        if len as u64 > MAX_MODULE {
            return Err(damaged());
        }
        let mut image = DataImage { address: low, bytes: vec![0; len] };
        for (to, end, data) in segments {
            let place = image.bytes.get_mut((to - low) as usize..(end - low) as usize).ok_or_else(damaged)?;
            place.copy_from_slice(data);
        }
        Ok(Some(image))
    }

    /// Byte range of the file system within the megabinary, when it has one.
    pub fn fs_range(&self) -> Option<Range<u64>> {
        self.module.custom(FS_SECTION).last().map(|(offset, data)| offset as u64..offset as u64 + data.len() as u64)
    }

    /// The projection of the program that starts for `hash`: a module of its own with that program's code alone, and a
    /// `_dispatch` that knows this program's hashes (its file's, and those of scripts that it interprets). Without names: every run would have a copy of where they are.
    ///
    /// # Errors
    /// [`Error::UnknownHash`], or another when the megabinary is damaged.
    pub fn project(&self, hash: &FileHash) -> Result<Vec<u8>, Error> {
        let name = self.entry_point(hash).ok_or_else(|| Error::UnknownHash(hex(hash)))?;
        let wasm = if let Some(unit) = self.units.objects.iter().find(|o| o.entry_point == name) {
            self.project_object(unit)?
        } else if let Some(unit) = self.units.wasi.iter().find(|w| w.entry_point == name) {
            self.project_wasi(unit)?
        } else {
            return Err(Error::NotMegabinary(format!("nothing has the entry point {name}")));
        };
        Validator::new_with_features(features())
            .validate_all(&wasm)
            .map_err(|source| Error::Invalid { name: format!("the projection of {name}"), source })?;
        Ok(wasm)
    }

    /// Imports the functions with the given indices.
    fn import(&self, asm: &mut Assembler, indices: &BTreeSet<u32>) -> Result<Imported<'a>, Error> {
        let missing = || Error::NotMegabinary("it names an import that does not exist".into());
        let (mut moved, mut names) = (BTreeMap::new(), BTreeMap::new());
        for i in indices {
            // The linker writes function imports only, so import and function indices agree.
            let import = self
                .module
                .imports
                .get(*i as usize)
                .filter(|i| matches!(i.ty, TypeRef::Func(_)))
                .ok_or_else(missing)?;
            let ty = self.module.function_type(*i).ok_or_else(missing)?;
            let to = asm.import(import.module, import.name, ty)?;
            moved.insert(*i, to);
            names.insert(import.name, to);
        }
        Ok((moved, names))
    }

    fn dispatch(&self, asm: &mut Assembler, name: &str, entry: u32) -> Result<(), Error> {
        let hashes: BTreeMap<FileHash, u32> =
            self.units.hashes.iter().filter(|(_, n)| n == name).map(|(h, _)| (*h, entry)).collect();
        let hashes: Vec<_> = hashes.into_iter().collect();
        let dispatch = asm.function("_dispatch", &code::dispatch_type(), &code::dispatch(&hashes))?;
        asm.export("_dispatch", ExportKind::Func, dispatch)
    }

    fn project_object(&self, unit: &ObjectUnit) -> Result<Vec<u8>, Error> {
        const TABLE_BASE: u32 = 1;
        let damaged = |what: &str| Error::NotMegabinary(format!("{}: {what}", unit.entry_point));
        let functions = unit.part.functions;
        let end = functions.end().ok_or_else(|| damaged("its functions"))?;
        let local = unit.entry.checked_sub(functions.first).filter(|l| *l < unit.table.count);
        let local = local.ok_or_else(|| damaged("its entry is not in the table"))?;
        let table_end = functions.first.checked_add(unit.table.count).filter(|e| *e <= unit.init);
        if table_end.is_none() || unit.init >= end {
            return Err(damaged("its functions"));
        }

        let mut asm = Assembler::default();
        let trampoline_imports = self
            .module
            .imports
            .iter()
            .zip(0..)
            .filter(|(i, _)| i.module == VKERNEL_MODULE && ["resolve", "unwound", "start"].contains(&i.name));
        let indices = unit.imports.iter().copied().chain(trampoline_imports.map(|(_, i)| i)).collect();
        let (moved, names) = self.import(&mut asm, &indices)?;
        let trampoline = trampoline(|name| names.get(name).copied())?;
        declare_object_unit(&mut asm)?;
        declare_table(&mut asm, unit.table.count.div_ceil(code::SWITCHED))?;

        let mut maps =
            Maps::of(&Part { tables: Span::default(), memories: Span::default(), data: Span::default(), ..unit.part });
        maps.functions.fixed = moved;
        maps.functions.skip = Some(unit.init);
        share_object_unit(&mut maps);
        maps.constant = unit.table_base.map(|global| (global, TABLE_BASE as i32));
        if let Some(base) = unit.base {
            let to = declare_base(&mut asm);
            asm.export("base", ExportKind::Global, to)?;
            maps.globals.fixed.insert(base, to);
        }
        // What is in a table costs every process memory, and code to be called by the host: so it has switches in it.
        let enter_type = asm.type_id("_enter", &code::enter_type())?;
        let enter = asm.function("_enter", &code::enter_type(), &code::enter(enter_type))?;
        maps.enter = Some(enter);
        let (part, _, _) = asm.place(&unit.entry_point, &self.module, maps, false)?;
        let table_end = part.functions.first.checked_add(unit.table.count).ok_or_else(|| damaged("its functions"))?;
        let switches = asm.next_function();
        for first in (part.functions.first..table_end).step_by(code::SWITCHED as usize) {
            let end = first.saturating_add(code::SWITCHED).min(table_end);
            asm.function("_switch", &code::enter_type(), &code::switch(first..end))?;
        }
        asm.fill_table(0, 0, switches..asm.next_function());

        let run = asm.function("_run", &code::run_type(), &code::run(trampoline, Instruction::Call(enter)))?;
        let entry = asm.function(
            &unit.entry_point,
            &code::unit_type(),
            &code::object_entry(trampoline, run, None, TABLE_BASE + local),
        )?;
        asm.export(&unit.entry_point, ExportKind::Func, entry)?;
        let resume = asm.function("_resume", &code::unit_type(), &code::resume(run))?;
        asm.export("_resume", ExportKind::Func, resume)?;
        self.dispatch(&mut asm, &unit.entry_point, entry)?;
        asm.finish(false)
    }

    fn project_wasi(&self, unit: &WasiUnit) -> Result<Vec<u8>, Error> {
        let damaged = || Error::NotMegabinary(format!("{}: its functions", unit.entry_point));
        let last = unit.part.functions.end().and_then(|e| e.checked_sub(1)).ok_or_else(damaged)?;
        let mut asm = Assembler::default();
        let mut maps = Maps::of(&unit.part);
        maps.functions.fixed = self.import(&mut asm, &unit.imports.iter().copied().collect())?.0;
        // The engine counts on the order: the code map's memory first, then the module's own.
        let function = asm.import(VKERNEL_MODULE, WASI_POLL, &code::unit_type())?;
        maps.poll = Some(Poll { memory: asm.memory(fixed_memory(MAP_PAGES), "map"), function });
        // A new process starts from the data image.
        maps.constant = unit.filled.map(|global| (global, 1));
        maps.emptied = unit.image.iter().map(|s| s.0).collect();
        let (_, _, maps) = asm.place(&unit.entry_point, &self.module, maps, false)?;
        let entry = maps.functions.map(last).ok_or_else(damaged)?;
        asm.export(&unit.entry_point, ExportKind::Func, entry)?;
        self.dispatch(&mut asm, &unit.entry_point, entry)?;
        for (name, kind, index) in &unit.exports {
            let (kind, to) = match *kind {
                k if k == ExportKind::Func as u8 => (ExportKind::Func, maps.functions.map(*index)),
                k if k == ExportKind::Table as u8 => (ExportKind::Table, maps.tables.map(*index)),
                k if k == ExportKind::Memory as u8 => (ExportKind::Memory, maps.memories.map(*index)),
                _ => (ExportKind::Global, maps.globals.map(*index)),
            };
            if let (Some(to), false) = (to, asm.has_export(name)) {
                asm.export(name, kind, to)?;
            }
        }
        // Messages about traps name functions.
        asm.finish(true)
    }
}
