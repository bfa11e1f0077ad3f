//! Linking: objects and WASI modules into one module.

use crate::assemble::{Assembler, Maps, append_custom, constant_offset};
use crate::layout::{ObjectUnit, Part, Span, Units, WasiUnit};
use crate::module::Module;
use crate::{
    Error, FileHash, LinkInputs, MAX_MEMORIES, MAX_MODULE, Object, UNITS_SECTION, WASI_MODULE, WasiModule, code,
    features, hex,
};
use megalith_abi::{
    FILE_MODULE, FileMeta, GLOBALS, Global, MAP_PAGES, MEM_PAGES, PIE_BASE, UNIT_MODULE, VKERNEL_IMPORTS,
    VKERNEL_MODULE,
};
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{ConstExpr, ExportKind, GlobalType, Instruction, MemoryType, RefType, TableType, ValType};
use wasmparser::{ElementKind, ExternalKind, FuncType, TypeRef, Validator};

/// Bytes of holes that a data image may have in any case.
const MAX_HOLES: u64 = 1 << 20;

/// A linked module, still without its file system.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The module: valid as it stands, and more custom sections may follow.
    pub wasm: Vec<u8>,
    /// Where each file went, sorted by hash.
    pub placed: Vec<Placed>,
}

/// One file's part of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub hash: FileHash,
    pub entry_point: String,
    /// Function indices.
    pub functions: Span,
    /// Table indices; empty for a WASI module.
    pub table: Span,
}

/// An object that fulfils the contract.
struct CheckedObject<'a> {
    hash: FileHash,
    name: &'a str,
    module: Module<'a>,
    /// Payload of its `megalith.file` section.
    meta: &'a [u8],
    /// Number of recompiled functions.
    functions: u32,
    entry: u32,
    init: u32,
}

/// A WASI module that can be linked.
struct CheckedWasi<'a> {
    hash: FileHash,
    name: &'a str,
    module: Module<'a>,
}

/// Merges objects and WASI modules into one module.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Contract`] name an input that cannot be linked, [`Error::Conflict`] inputs that do not go together (a hash or an
/// entry point given twice, an alias of nothing, more memories than engines take).
pub fn link(inputs: &LinkInputs<'_>) -> Result<Linked, Error> {
    let objects = by_hash(inputs.objects.iter().map(check_object).collect::<Result<Vec<_>, _>>()?, |o| o.hash);
    let wasi = by_hash(
        inputs
            .wasi
            .iter()
            .map(|w: &WasiModule<'_>| {
                let module = Module::parse_input(w.entry_point, w.wasm)?;
                check_wasi_module(w.entry_point, &module)?;
                Ok(CheckedWasi { hash: w.hash, name: w.entry_point, module })
            })
            .collect::<Result<Vec<_>, Error>>()?,
        |w| w.hash,
    );
    let hashes = known_hashes(inputs)?;
    let memories = if objects.is_empty() { 0 } else { 2 } + wasi.iter().map(|w| w.module.memories.len()).sum::<usize>();
    let tables = usize::from(!objects.is_empty()) + wasi.iter().map(|w| w.module.tables.len()).sum::<usize>();
    if memories > MAX_MEMORIES || tables > MAX_MEMORIES {
        return Err(Error::Conflict(format!(
            "{} WASI modules need {memories} memories and {tables} tables; engines take {MAX_MEMORIES} of each",
            wasi.len()
        )));
    }

    let mut asm = Assembler::default();
    let mut entries: BTreeMap<&str, u32> = BTreeMap::new();
    let mut units = Units { hashes: hashes.iter().map(|(h, n)| (*h, (*n).to_string())).collect(), ..Units::default() };

    let imports = import_all(&mut asm, &objects, &wasi)?;
    if !objects.is_empty() {
        link_objects(&mut asm, &objects, &imports, &mut units, &mut entries)?;
    }
    for w in &wasi {
        let unit = place_wasi(&mut asm, w, &imports)?;
        let entry = unit.part.functions.first + unit.part.functions.count - 1;
        asm.export(w.name, ExportKind::Func, entry)?;
        if let Some((_, _, memory)) = unit.exports.iter().find(|e| e.0 == "memory" && e.1 == ExportKind::Memory as u8) {
            asm.export(&format!("{}.memory", w.name), ExportKind::Memory, *memory)?;
        }
        entries.insert(w.name, entry);
        units.wasi.push(unit);
    }
    let table: Vec<(FileHash, u32)> = hashes.iter().filter_map(|(h, n)| Some((*h, *entries.get(n)?))).collect();
    let dispatch = asm.function("_dispatch", &code::dispatch_type(), &code::dispatch(&table))?;
    asm.export("_dispatch", ExportKind::Func, dispatch)?;

    let mut wasm = asm.finish(true)?;
    for o in &objects {
        let mut payload = o.hash.to_vec();
        payload.extend_from_slice(o.meta);
        append_custom(&mut wasm, FileMeta::SECTION, &payload);
    }
    let encoded = postcard::to_stdvec(&units).map_err(|e| Error::Conflict(format!("{UNITS_SECTION}: {e}")))?;
    append_custom(&mut wasm, UNITS_SECTION, &encoded);
    if wasm.len() as u64 > MAX_MODULE {
        return Err(Error::TooLarge { size: wasm.len() as u64 });
    }
    Validator::new_with_features(features())
        .validate_all(&wasm)
        .map_err(|source| Error::Invalid { name: "the linked module".into(), source })?;

    let placed_object = |o: &ObjectUnit| Placed {
        hash: o.hash,
        entry_point: o.entry_point.clone(),
        functions: o.part.functions,
        table: o.table,
    };
    let placed_wasi = |w: &WasiUnit| Placed {
        hash: w.hash,
        entry_point: w.entry_point.clone(),
        functions: w.part.functions,
        table: Span::default(),
    };
    let placed =
        by_hash(units.objects.iter().map(placed_object).chain(units.wasi.iter().map(placed_wasi)).collect(), |p| {
            p.hash
        });
    Ok(Linked { wasm, placed })
}

fn by_hash<T>(mut items: Vec<T>, hash: impl Fn(&T) -> FileHash) -> Vec<T> {
    items.sort_by_key(hash);
    items
}

/// All hashes with their entry points, checked to be consistent.
fn known_hashes<'a>(inputs: &LinkInputs<'a>) -> Result<BTreeMap<FileHash, &'a str>, Error> {
    let mut hashes: BTreeMap<FileHash, &str> = BTreeMap::new();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let programs = inputs
        .objects
        .iter()
        .map(|o| (o.hash, o.entry_point))
        .chain(inputs.wasi.iter().map(|w| (w.hash, w.entry_point)));
    for (hash, name) in programs {
        if hashes.insert(hash, name).is_some() {
            return Err(Error::Conflict(format!("{name}: the file {} is given twice", hex(&hash))));
        }
        if !names.insert(name) {
            return Err(Error::Conflict(format!("two programs have the entry point {name}")));
        }
    }
    for alias in &inputs.aliases {
        let name = names
            .get(alias.entry_point)
            .ok_or_else(|| Error::Conflict(format!("{}: no program has that entry point", alias.entry_point)))?;
        match hashes.insert(alias.hash, name) {
            Some(other) if other != *name => {
                return Err(Error::Conflict(format!(
                    "the file {} has two entry points, {other} and {name}",
                    hex(&alias.hash)
                )));
            }
            _ => {}
        }
    }
    Ok(hashes)
}

/// Output index of each function import, by module, name and type.
type Imports = BTreeMap<(String, String, String), u32>;

fn import_key(module: &str, name: &str, ty: &FuncType) -> (String, String, String) {
    (module.into(), name.into(), format!("{ty}"))
}

/// Imports what anything needs, each once: `vkernel` in the order of [`VKERNEL_IMPORTS`], then WASI by name.
fn import_all(asm: &mut Assembler, objects: &[CheckedObject<'_>], wasi: &[CheckedWasi<'_>]) -> Result<Imports, Error> {
    let mut imports = Imports::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    if !objects.is_empty() {
        used.extend(["resolve", "unwound", "start"]);
    }
    for o in objects {
        used.extend(o.module.imports.iter().filter(|i| i.module == VKERNEL_MODULE).map(|i| i.name));
    }
    for (name, _, _) in VKERNEL_IMPORTS.iter().filter(|f| used.contains(f.0)) {
        if let Some(ty) = code::vkernel_type(name) {
            imports.insert(import_key(VKERNEL_MODULE, name, &ty), asm.import(VKERNEL_MODULE, name, &ty)?);
        }
    }
    let mut wanted = BTreeMap::new();
    for w in wasi {
        for (i, import) in w.module.imports.iter().enumerate() {
            if let Some(ty) = w.module.function_type(i as u32) {
                wanted.insert(import_key(WASI_MODULE, import.name, ty), ty.clone());
            }
        }
    }
    for (key, ty) in wanted {
        let index = asm.import(WASI_MODULE, &key.1, &ty)?;
        imports.insert(key, index);
    }
    Ok(imports)
}

/// A memory of `pages` pages that does not grow.
pub fn fixed_memory(pages: u64) -> MemoryType {
    MemoryType { minimum: pages, maximum: Some(pages), memory64: false, shared: false, page_size_log2: None }
}

/// Declares the memories and register globals of the object unit. They get the indices that the contract gives them, so call this first.
pub fn declare_object_unit(asm: &mut Assembler) -> Result<(), Error> {
    let mem = asm.memory(fixed_memory(MEM_PAGES), "memory");
    let map = asm.memory(fixed_memory(MAP_PAGES), "map");
    asm.export("memory", ExportKind::Memory, mem)?;
    asm.export("map", ExportKind::Memory, map)?;
    for i in 0..GLOBALS {
        let init = match code::register_type(i) {
            // What Linux starts a program with.
            ValType::I64 if i == Global::Rflags as u32 => ConstExpr::i64_const(2),
            ValType::I32 if i == Global::Mxcsr as u32 => ConstExpr::i32_const(0x1f80),
            ValType::I32 => ConstExpr::i32_const(0),
            ValType::V128 => ConstExpr::v128_const(0),
            _ => ConstExpr::i64_const(0),
        };
        let name = Global::name(i).unwrap_or_default();
        let index =
            asm.global(GlobalType { val_type: code::register_type(i), mutable: true, shared: false }, &init, name);
        asm.export(name, ExportKind::Global, index)?;
    }
    Ok(())
}

/// The object unit's table.
pub fn declare_table(asm: &mut Assembler, size: u32) -> Result<(), Error> {
    let size = u64::from(size);
    let index = asm.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: size,
        maximum: Some(size),
        shared: false,
    });
    asm.export("table", ExportKind::Table, index)
}

/// Maps what all objects of the unit share, for a source in which those things have the same indices as in the output.
pub fn share_object_unit(maps: &mut Maps) {
    maps.tables.fixed.insert(0, 0);
    maps.memories.fixed.extend([(0, 0), (1, 1)]);
    maps.globals.fixed.extend((0..GLOBALS).map(|i| (i, i)));
}

/// The mutable global for a file's load base.
pub fn declare_base(asm: &mut Assembler) -> u32 {
    let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    asm.global(ty, &ConstExpr::i64_const(i64::from(PIE_BASE)), "base")
}

fn link_objects<'a>(
    asm: &mut Assembler,
    objects: &[CheckedObject<'a>],
    imports: &Imports,
    units: &mut Units,
    entries: &mut BTreeMap<&'a str, u32>,
) -> Result<(), Error> {
    declare_object_unit(asm)?;
    // Index 0 stays null.
    let size = objects
        .iter()
        .try_fold(1u32, |n, o| n.checked_add(o.functions))
        .ok_or_else(|| Error::Conflict("too many functions".into()))?;
    declare_table(asm, size)?;
    let mut table_base = 1;
    for o in objects {
        let unit = place_object(asm, o, imports, table_base)?;
        table_base += o.functions;
        units.objects.push(unit);
    }
    let trampoline = trampoline(|name| {
        let ty = code::vkernel_type(name)?;
        imports.get(&import_key(VKERNEL_MODULE, name, &ty)).copied()
    })?;
    let recompiled = asm.type_id("_run", &code::recompiled_type())?;
    let call = Instruction::CallIndirect { type_index: recompiled, table_index: 0 };
    let run = asm.function("_run", &code::run_type(), &code::run(trampoline, call))?;
    for (o, unit) in objects.iter().zip(&units.objects) {
        let slot = unit.table.first + (unit.entry - unit.part.functions.first);
        let body = code::object_entry(trampoline, run, Some(unit.init), slot);
        let entry = asm.function(o.name, &code::unit_type(), &body)?;
        asm.export(o.name, ExportKind::Func, entry)?;
        entries.insert(o.name, entry);
    }
    let resume = asm.function("_resume", &code::unit_type(), &code::resume(run))?;
    asm.export("_resume", ExportKind::Func, resume)?;
    for unit in &units.objects {
        asm.fill_table(0, unit.table.first, (0..unit.table.count).map(|i| unit.part.functions.first + i));
    }
    Ok(())
}

/// The imports of the trampoline, by name.
pub fn trampoline(index: impl Fn(&str) -> Option<u32>) -> Result<code::Trampoline, Error> {
    let get = |name| index(name).ok_or_else(|| Error::Conflict(format!("vkernel.{name} is not imported")));
    Ok(code::Trampoline { resolve: get("resolve")?, unwound: get("unwound")?, start: get("start")? })
}

fn place_object(
    asm: &mut Assembler,
    o: &CheckedObject<'_>,
    imports: &Imports,
    table_base: u32,
) -> Result<ObjectUnit, Error> {
    let m = &o.module;
    let part = Part {
        functions: Span { first: m.imported_functions, count: m.bodies.len() as u32 },
        globals: Span { first: m.imported_globals, count: m.globals.len() as u32 },
        elements: Span { first: 0, count: m.elements.len() as u32 },
        data: Span { first: 0, count: m.data.len() as u32 },
        ..Part::default()
    };
    let mut maps = Maps::of(&part);
    let (mut table_base_global, mut base) = (None, None);
    let mut used = BTreeSet::new();
    let (mut functions, mut memories, mut globals) = (0, 0, 0);
    for import in &m.imports {
        let fail =
            || Error::contract(o.name, format!("imports {}.{}, which no object may", import.module, import.name));
        match (import.module, import.name, import.ty) {
            (VKERNEL_MODULE, name, TypeRef::Func(_)) => {
                let ty = m.function_type(functions).ok_or_else(fail)?;
                let to = *imports.get(&import_key(VKERNEL_MODULE, name, ty)).ok_or_else(fail)?;
                maps.functions.fixed.insert(functions, to);
                used.insert(to);
                functions += 1;
            }
            (UNIT_MODULE, "mem" | "map", TypeRef::Memory(_)) => {
                maps.memories.fixed.insert(memories, u32::from(import.name == "map"));
                memories += 1;
            }
            (UNIT_MODULE, "table", TypeRef::Table(_)) => {
                maps.tables.fixed.insert(0, 0);
            }
            (UNIT_MODULE, name, TypeRef::Global(_)) => {
                let to = (0..GLOBALS).find(|i| Global::name(*i) == Some(name)).ok_or_else(fail)?;
                maps.globals.fixed.insert(globals, to);
                globals += 1;
            }
            (FILE_MODULE, "table_base", TypeRef::Global(_)) => {
                let ty = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
                let to = *table_base_global.get_or_insert_with(|| {
                    asm.global(ty, &ConstExpr::i32_const(table_base as i32), &format!("{}.table_base", o.name))
                });
                maps.globals.fixed.insert(globals, to);
                globals += 1;
            }
            (FILE_MODULE, "base", TypeRef::Global(_)) => {
                let to = *base.get_or_insert_with(|| declare_base(asm));
                maps.globals.fixed.insert(globals, to);
                globals += 1;
            }
            _ => return Err(fail()),
        }
    }
    let (part, _, maps) = asm.place(o.name, m, maps, false)?;
    let at = |i: u32| maps.functions.base + (i - m.imported_functions);
    Ok(ObjectUnit {
        hash: o.hash,
        entry_point: o.name.into(),
        part,
        table: Span { first: table_base, count: o.functions },
        entry: at(o.entry),
        init: at(o.init),
        imports: used.into_iter().collect(),
        table_base: table_base_global,
        base,
    })
}

/// Checks an object against the contract in `ARCHITECTURE.md` and `megalith-abi`.
fn check_object<'a>(o: &Object<'a>) -> Result<CheckedObject<'a>, Error> {
    let name = o.entry_point;
    let fail = |what: &str| Err(Error::contract(name, what));
    let module = Module::parse_input(name, o.wasm)?;
    if !module.tables.is_empty() || !module.memories.is_empty() || module.start.is_some() {
        return fail("an object may not define tables or memories, nor have a start function");
    }
    if module.imported_tables > 1 {
        return fail("an object may import the table once");
    }
    if module.elements.iter().any(|e| !matches!(e.kind, ElementKind::Declared)) {
        return fail("an object may not have element segments; the linker fills the table");
    }
    if module.data.iter().any(|d| !matches!(d.kind, wasmparser::DataKind::Passive)) {
        return fail("the data segments of an object must be passive");
    }
    for import in &module.imports {
        check_object_import(name, &module, import)?;
    }
    let metas: Vec<_> = module.custom(FileMeta::SECTION).collect();
    let [(_, meta)] = metas[..] else {
        return fail("an object needs one megalith.file section");
    };
    let decoded: FileMeta =
        postcard::from_bytes(meta).map_err(|e| Error::contract(name, format!("megalith.file: {e}")))?;
    if decoded.functions.len() > module.bodies.len() {
        return fail("megalith.file names more functions than there are");
    }
    let functions = decoded.functions.len() as u32;
    let recompiled = code::recompiled_type();
    for i in 0..functions {
        if module.function_type(module.imported_functions + i) != Some(&recompiled) {
            return Err(Error::contract(name, format!("function {i} does not have the type of a recompiled function")));
        }
    }
    let local = |i: u32| i.checked_sub(module.imported_functions);
    let entry = match module.exported_function("entry") {
        Some(i) if local(i).is_some_and(|l| l < functions) => i,
        _ => return fail("an object must export one of its recompiled functions as entry"),
    };
    let init = match module.exported_function("init") {
        Some(i) if local(i).is_some_and(|l| l >= functions) && module.function_type(i) == Some(&code::unit_type()) => i,
        _ => return fail("an object must export a helper function () -> () as init"),
    };
    Ok(CheckedObject { hash: o.hash, name, module, meta, functions, entry, init })
}

fn check_object_import(name: &str, module: &Module<'_>, import: &wasmparser::Import<'_>) -> Result<(), Error> {
    let memory = |m: wasmparser::MemoryType, pages: u64| {
        !m.shared && m.initial <= pages && m.maximum.is_none_or(|max| max >= pages)
    };
    let ok = match (import.module, import.name, import.ty) {
        (VKERNEL_MODULE, f, TypeRef::Func(ty)) => {
            module.types.get(ty as usize).is_some_and(|ty| code::vkernel_type(f).as_ref() == Some(ty))
        }
        (UNIT_MODULE, "mem", TypeRef::Memory(m)) => memory(m, MEM_PAGES),
        (UNIT_MODULE, "map", TypeRef::Memory(m)) => memory(m, MAP_PAGES),
        (UNIT_MODULE, "table", TypeRef::Table(t)) => {
            t.element_type == wasmparser::RefType::FUNCREF && t.maximum.is_none()
        }
        (UNIT_MODULE, global, TypeRef::Global(g)) => (0..GLOBALS).any(|i| {
            let ty = match Global::val_type(i) {
                megalith_abi::GlobalType::I32 => wasmparser::ValType::I32,
                megalith_abi::GlobalType::I64 => wasmparser::ValType::I64,
                megalith_abi::GlobalType::V128 => wasmparser::ValType::V128,
            };
            Global::name(i) == Some(global) && g.mutable && g.content_type == ty
        }),
        (FILE_MODULE, "table_base", TypeRef::Global(g)) => !g.mutable && g.content_type == wasmparser::ValType::I32,
        (FILE_MODULE, "base", TypeRef::Global(g)) => g.mutable && g.content_type == wasmparser::ValType::I64,
        _ => false,
    };
    if ok {
        return Ok(());
    }
    Err(Error::contract(
        name,
        format!("imports {}.{} with a type that is not the contract's", import.module, import.name),
    ))
}

/// Checks that a valid module is a WASI command.
pub fn check_wasi_module(name: &str, module: &Module<'_>) -> Result<(), Error> {
    for import in &module.imports {
        if import.module != WASI_MODULE || !matches!(import.ty, TypeRef::Func(_)) {
            return Err(Error::contract(
                name,
                format!("imports {}.{}; only functions of {WASI_MODULE} are there", import.module, import.name),
            ));
        }
    }
    for (i, import) in (0..).zip(&module.imports) {
        let want = code::wasi_type(import.name);
        if want.is_none() || want.as_ref() != module.function_type(i) {
            let why = if want.is_none() { "is not a function of WASI preview 1" } else { "has another type there" };
            return Err(Error::contract(name, format!("imports {}.{}, which {why}", import.module, import.name)));
        }
    }
    if module.memories.len() > 1 {
        return Err(Error::contract(name, "has more than one memory; WASI preview 1 knows one"));
    }
    if module.memories.iter().any(|m| m.shared) {
        return Err(Error::contract(name, "has a shared memory; threads are not supported"));
    }
    match module.exported_function("_start") {
        Some(i) if module.function_type(i) == Some(&code::unit_type()) => Ok(()),
        _ => Err(Error::contract(name, "is no WASI command: it exports no _start function () -> ()")),
    }
}

/// The data image of a module: its active data segments, in order, and where they go. Empty when not all of them have plain places inside of the
/// memory's first size, or when they lie so far apart that the image would be mostly holes.
fn image(m: &Module<'_>) -> Vec<(u32, u32)> {
    let size = m.memories.first().map_or(0, |memory| memory.initial.saturating_mul(65536));
    let mut image = Vec::new();
    let (mut low, mut high, mut bytes) = (u64::MAX, 0, 0);
    for (i, data) in (0..).zip(&m.data) {
        if matches!(data.kind, wasmparser::DataKind::Passive) {
            continue;
        }
        let Some(to) = constant_offset(data) else { return Vec::new() };
        let end = u64::from(to) + data.data.len() as u64;
        if end > size {
            return Vec::new();
        }
        (low, high) = (low.min(to.into()), high.max(end));
        bytes += data.data.len() as u64;
        image.push((i, to));
    }
    if high.saturating_sub(low) > bytes.saturating_mul(4).saturating_add(MAX_HOLES) { Vec::new() } else { image }
}

fn place_wasi(asm: &mut Assembler, w: &CheckedWasi<'_>, imports: &Imports) -> Result<WasiUnit, Error> {
    let m = &w.module;
    let span = |first, count: usize| Span { first, count: count as u32 };
    let mut maps = Maps::of(&Part {
        functions: span(m.imported_functions, m.bodies.len()),
        tables: span(0, m.tables.len()),
        memories: span(0, m.memories.len()),
        globals: span(0, m.globals.len()),
        elements: span(0, m.elements.len()),
        data: span(0, m.data.len()),
    });
    for (i, import) in (0..).zip(&m.imports) {
        let ty = m.function_type(i).ok_or_else(|| Error::contract(w.name, "imports something else than functions"))?;
        let to = imports
            .get(&import_key(WASI_MODULE, import.name, ty))
            .ok_or_else(|| Error::contract(w.name, "an import got lost"))?;
        maps.functions.fixed.insert(i, *to);
    }
    let used: BTreeSet<u32> = maps.functions.fixed.values().copied().collect();
    let (mut part, segments, maps) = asm.place(w.name, m, maps, true)?;
    let function =
        |i: u32| maps.functions.map(i).ok_or_else(|| Error::contract(w.name, "exports a function that does not exist"));
    let main = m.exported_function("_start").ok_or_else(|| Error::contract(w.name, "exports no _start"))?;
    let image: Vec<(u32, u32)> = image(m)
        .into_iter()
        .map(|(i, to)| Some((maps.data.map(i)?, to)))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::contract(w.name, "a data segment got lost"))?;
    let ty = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    let filled = (!image.is_empty()).then(|| asm.global(ty, &ConstExpr::i32_const(0), "filled"));
    let body = code::wasi_entry(&segments, filled, m.start.map(function).transpose()?, function(main)?);
    asm.function(w.name, &code::unit_type(), &body)?;
    part.functions.count += 1;

    let mut exports = Vec::new();
    for e in &m.exports {
        let (kind, to) = match e.kind {
            ExternalKind::Func => (ExportKind::Func, maps.functions.map(e.index)),
            ExternalKind::Table => (ExportKind::Table, maps.tables.map(e.index)),
            ExternalKind::Memory => (ExportKind::Memory, maps.memories.map(e.index)),
            ExternalKind::Global => (ExportKind::Global, maps.globals.map(e.index)),
            _ => continue,
        };
        if let (Some(to), true) = (to, e.name != "_start") {
            exports.push((e.name.to_string(), kind as u8, to));
        }
    }
    let imports = used.into_iter().collect();
    Ok(WasiUnit { hash: w.hash, entry_point: w.name.into(), part, imports, exports, image, filled })
}
