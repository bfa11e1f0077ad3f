//! Building a module out of parts of other modules: index remapping and section order.

use crate::layout::{Part, Span};
use crate::module::Module;
use crate::{Error, MAX_MODULE, code};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasm_encoder::reencode::{Error as ReError, Reencode};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction,
    MemorySection, MemoryType, NameMap, NameSection, TableSection, TableType, TypeSection,
};
use wasmparser::{ElementKind, FuncType, Operator};

/// An index that the part refers to and that has no place in the output.
#[derive(Debug, thiserror::Error)]
#[error("refers to {space} {index}, which is not part of it")]
pub struct Unmapped {
    space: &'static str,
    index: u32,
}

/// How one index space of a source module maps to the output's.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// Single indices: imports and what is shared.
    pub fixed: BTreeMap<u32, u32>,
    /// The range that moves as a whole, to `base`.
    pub range: Span,
    pub base: u32,
    /// An index in the range that is left out; what follows it moves down by one.
    pub skip: Option<u32>,
}

impl Space {
    /// The output index of `index`.
    pub fn map(&self, index: u32) -> Option<u32> {
        match index.checked_sub(self.range.first) {
            Some(offset) if offset < self.range.count => match self.skip {
                Some(skip) if index == skip => None,
                Some(skip) if index > skip => self.base.checked_add(offset - 1),
                _ => self.base.checked_add(offset),
            },
            _ => self.fixed.get(&index).copied(),
        }
    }
}

/// How one part's indices map to the output's. The `base`s are filled in by [`Assembler::place`].
#[derive(Clone, Debug, Default)]
pub struct Maps {
    pub functions: Space,
    pub tables: Space,
    pub memories: Space,
    pub globals: Space,
    pub elements: Space,
    pub data: Space,
    /// A global of the source whose reads become this constant.
    pub constant: Option<(u32, i32)>,
    /// A function of the output that is called in place of what the table of recompiled functions has, with the index as its last parameter.
    pub enter: Option<u32>,
    /// Polls to put into the functions.
    pub poll: Option<Poll>,
    /// Data segments of the source that are left without bytes.
    pub emptied: BTreeSet<u32>,
}

/// Where code looks for something to do, and what it then calls; output indices.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// The memory with the poll word at `MAP_POLL`.
    pub memory: u32,
    /// A function `() -> ()`.
    pub function: u32,
}

impl Maps {
    /// Moves all that `part` names; nothing else is mapped yet.
    pub fn of(part: &Part) -> Maps {
        let space = |range| Space { range, ..Space::default() };
        Maps {
            functions: space(part.functions),
            tables: space(part.tables),
            memories: space(part.memories),
            globals: space(part.globals),
            elements: space(part.elements),
            data: space(part.data),
            constant: None,
            enter: None,
            poll: None,
            emptied: BTreeSet::new(),
        }
    }
}

/// What an active segment of a WASI module becomes: its place, for the entry point to fill.
pub struct Deferred {
    /// Index of the table or memory in the output.
    pub target: u32,
    /// The offset expression, remapped and without its end.
    pub offset: Vec<u8>,
    /// Index of the segment in the output, now passive.
    pub segment: u32,
    /// Items or bytes of the segment.
    pub len: u32,
}

/// Segments to fill in when the program starts.
#[derive(Default)]
pub struct DeferredSegments {
    pub elements: Vec<Deferred>,
    pub data: Vec<Deferred>,
}

/// The output's types, each once, in order of first use.
#[derive(Default)]
struct Types {
    section: TypeSection,
    ids: HashMap<FuncType, u32>,
}

impl Types {
    fn intern(&mut self, ty: &FuncType) -> Result<u32, ReError<Unmapped>> {
        if let Some(id) = self.ids.get(ty) {
            return Ok(*id);
        }
        struct Plain;
        impl Reencode for Plain {
            type Error = Unmapped;
        }
        let encoded = Plain.func_type(ty.clone())?;
        self.section.ty().func_type(&encoded);
        let id = self.ids.len() as u32;
        self.ids.insert(ty.clone(), id);
        Ok(id)
    }
}

/// The remapping of one part.
struct Remap<'r> {
    maps: &'r Maps,
    source: &'r [FuncType],
    types: &'r mut Types,
    /// Source type index -> output type index.
    cache: Vec<Option<u32>>,
}

fn mapped(space: &'static str, to: Option<u32>, index: u32) -> Result<u32, ReError<Unmapped>> {
    to.ok_or(ReError::UserError(Unmapped { space, index }))
}

impl Reencode for Remap<'_> {
    type Error = Unmapped;

    fn function_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("function", self.maps.functions.map(i), i)
    }
    fn table_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("table", self.maps.tables.map(i), i)
    }
    fn memory_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("memory", self.maps.memories.map(i), i)
    }
    fn global_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("global", self.maps.globals.map(i), i)
    }
    fn element_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("element segment", self.maps.elements.map(i), i)
    }
    fn data_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("data segment", self.maps.data.map(i), i)
    }
    fn tag_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        mapped("tag", None, i)
    }
    fn type_index(&mut self, i: u32) -> Result<u32, ReError<Unmapped>> {
        if let Some(Some(id)) = self.cache.get(i as usize) {
            return Ok(*id);
        }
        let ty = self.source.get(i as usize).ok_or(ReError::UserError(Unmapped { space: "type", index: i }))?;
        let id = self.types.intern(ty)?;
        if let Some(slot) = self.cache.get_mut(i as usize) {
            *slot = Some(id);
        }
        Ok(id)
    }
    fn instruction<'a>(&mut self, op: Operator<'a>) -> Result<Instruction<'a>, ReError<Unmapped>> {
        if let (Operator::GlobalGet { global_index }, Some((global, value))) = (&op, self.maps.constant)
            && *global_index == global
        {
            return Ok(Instruction::I32Const(value));
        }
        match (&op, self.maps.enter) {
            (Operator::CallIndirect { .. }, Some(enter)) => return Ok(Instruction::Call(enter)),
            (Operator::ReturnCallIndirect { .. }, Some(enter)) => return Ok(Instruction::ReturnCall(enter)),
            _ => {}
        }
        wasm_encoder::reencode::utils::instruction(self, op)
    }
    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), ReError<Unmapped>> {
        let Some(poll) = self.maps.poll else {
            return wasm_encoder::reencode::utils::parse_function_body(self, code, body);
        };
        let mut f = self.new_function_with_parsed_locals(&body)?;
        // What runs for ever loops or calls for ever; a function that makes no call can only loop.
        if makes_calls(&body)? {
            code::poll(&mut f, poll);
        }
        let mut ops = body.get_operators_reader()?;
        while !ops.eof() {
            let op = ops.read()?;
            let head = matches!(op, Operator::Loop { .. });
            f.instruction(&self.instruction(op)?);
            if head {
                code::poll(&mut f, poll);
            }
        }
        code.function(&f);
        Ok(())
    }
}

/// Whether a function calls others.
fn makes_calls(body: &wasmparser::FunctionBody<'_>) -> Result<bool, wasmparser::BinaryReaderError> {
    let mut ops = body.get_operators_reader()?;
    while !ops.eof() {
        use Operator::{Call, CallIndirect, CallRef, ReturnCall, ReturnCallIndirect, ReturnCallRef};
        if matches!(
            ops.read()?,
            Call { .. }
                | CallIndirect { .. }
                | CallRef { .. }
                | ReturnCall { .. }
                | ReturnCallIndirect { .. }
                | ReturnCallRef { .. }
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The module under construction. Indices are handed out in call order; all imports come first.
#[derive(Default)]
pub struct Assembler {
    types: Types,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    export_names: BTreeSet<String>,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    /// Bytes in data segments so far.
    data_bytes: usize,
    function_count: u32,
    function_names: Vec<(u32, String)>,
    global_names: Vec<(u32, String)>,
    memory_names: Vec<(u32, String)>,
}

impl Assembler {
    /// Index of the next function.
    pub fn next_function(&self) -> u32 {
        self.function_count
    }

    /// Adds a function import and returns its index. To be called before any function is added.
    pub fn import(&mut self, module: &str, name: &str, ty: &FuncType) -> Result<u32, Error> {
        let ty = self.types.intern(ty).map_err(|e| reencode_error(name, e))?;
        self.imports.import(module, name, EntityType::Function(ty));
        self.name_function(self.function_count, name);
        self.function_count += 1;
        Ok(self.function_count - 1)
    }

    /// Adds a generated function.
    pub fn function(&mut self, name: &str, ty: &FuncType, body: &Function) -> Result<u32, Error> {
        let ty = self.type_id(name, ty)?;
        self.functions.function(ty);
        self.code.function(body);
        self.name_function(self.function_count, name);
        self.function_count += 1;
        Ok(self.function_count - 1)
    }

    /// Index of a function type.
    pub fn type_id(&mut self, name: &str, ty: &FuncType) -> Result<u32, Error> {
        self.types.intern(ty).map_err(|e| reencode_error(name, e))
    }

    pub fn memory(&mut self, ty: MemoryType, name: &str) -> u32 {
        self.memory_names.push((self.memories.len(), name.into()));
        self.memories.memory(ty);
        self.memories.len() - 1
    }

    pub fn table(&mut self, ty: TableType) -> u32 {
        self.tables.table(ty);
        self.tables.len() - 1
    }

    pub fn global(&mut self, ty: GlobalType, init: &ConstExpr, name: &str) -> u32 {
        self.global_names.push((self.globals.len(), name.into()));
        self.globals.global(ty, init);
        self.globals.len() - 1
    }

    /// Fills table `table` from `offset` on with `functions`.
    pub fn fill_table(&mut self, table: u32, offset: u32, functions: impl IntoIterator<Item = u32>) {
        let functions: Vec<u32> = functions.into_iter().collect();
        self.elements.active(
            (table != 0).then_some(table),
            &ConstExpr::i32_const(offset as i32),
            Elements::Functions(functions.into()),
        );
    }

    /// Exports under a name that must be free.
    pub fn export(&mut self, name: &str, kind: ExportKind, index: u32) -> Result<(), Error> {
        if !self.export_names.insert(name.into()) {
            return Err(Error::Conflict(format!("two exports would be called {name:?}")));
        }
        self.exports.export(name, kind, index);
        Ok(())
    }

    pub fn has_export(&self, name: &str) -> bool {
        self.export_names.contains(name)
    }

    fn name_function(&mut self, index: u32, name: &str) {
        self.function_names.push((index, name.into()));
    }

    /// Adds the part of `source` that the ranges of `maps` name and returns where it went. With `defer`, active segments become
    /// passive ones that are returned (but element segments that certainly fit their table). `name` stands in errors.
    pub fn place(
        &mut self,
        name: &str,
        source: &Module<'_>,
        mut maps: Maps,
        defer: bool,
    ) -> Result<(Part, DeferredSegments, Maps), Error> {
        let err = |e| reencode_error(name, e);
        let space = |what: &str| Error::contract(name, format!("names {what} that do not exist"));
        maps.functions.base = self.function_count;
        maps.tables.base = self.tables.len();
        maps.memories.base = self.memories.len();
        maps.globals.base = self.globals.len();
        maps.elements.base = self.elements.len();
        maps.data.base = self.data.len();

        let mut out = DeferredSegments::default();
        let mut remap =
            Remap { maps: &maps, source: &source.types, types: &mut self.types, cache: vec![None; source.types.len()] };

        for table in slice(&source.tables, source.imported_tables, maps.tables.range).ok_or_else(|| space("tables"))? {
            remap.parse_table(&mut self.tables, table.clone()).map_err(err)?;
        }
        for ty in
            slice(&source.memories, source.imported_memories, maps.memories.range).ok_or_else(|| space("memories"))?
        {
            let ty = remap.memory_type(*ty).map_err(err)?;
            self.memories.memory(ty);
        }
        for global in
            slice(&source.globals, source.imported_globals, maps.globals.range).ok_or_else(|| space("globals"))?
        {
            remap.parse_global(&mut self.globals, global.clone()).map_err(err)?;
        }
        for element in slice(&source.elements, 0, maps.elements.range).ok_or_else(|| space("element segments"))? {
            match &element.kind {
                ElementKind::Active { table_index, offset_expr } if defer && !fits(source, element) => {
                    let target = remap.table_index(table_index.unwrap_or(0)).map_err(err)?;
                    out.elements.push(Deferred {
                        target,
                        offset: raw_expr(&mut remap, offset_expr).map_err(err)?,
                        segment: self.elements.len(),
                        len: item_count(element),
                    });
                    let items = remap.element_items(element.items.clone()).map_err(err)?;
                    self.elements.passive(items);
                }
                _ => remap.parse_element(&mut self.elements, element.clone()).map_err(err)?,
            }
        }
        let segments = slice(&source.data, 0, maps.data.range).ok_or_else(|| space("data segments"))?;
        for (index, data) in (maps.data.range.first..).zip(segments) {
            if maps.emptied.contains(&index) {
                self.data.passive([]);
                continue;
            }
            self.data_bytes += data.data.len();
            if let (true, wasmparser::DataKind::Active { memory_index, offset_expr }) = (defer, &data.kind) {
                out.data.push(Deferred {
                    target: remap.memory_index(*memory_index).map_err(err)?,
                    offset: raw_expr(&mut remap, offset_expr).map_err(err)?,
                    segment: self.data.len(),
                    len: u32::try_from(data.data.len())
                        .map_err(|_| Error::contract(name, "a data segment is too large"))?,
                });
                self.data.passive(data.data.iter().copied());
            } else {
                remap.parse_data(&mut self.data, data.clone()).map_err(err)?;
            }
        }

        let range = maps.functions.range;
        let end = range.end().ok_or_else(|| space("functions"))?;
        let mut names = Vec::new();
        for old in range.first..end {
            if maps.functions.skip == Some(old) {
                continue;
            }
            let (Some(ty), Some(body)) = (source.function_types.get(old as usize), source.body(old)) else {
                return Err(space("functions"));
            };
            let ty = remap.type_index(*ty).map_err(err)?;
            self.functions.function(ty);
            remap.parse_function_body(&mut self.code, body.clone()).map_err(err)?;
            if let Some(name) = source.names.get(&old) {
                names.push((self.function_count, (*name).to_string()));
            }
            self.function_count += 1;
        }
        self.function_names.append(&mut names);

        let part = Part {
            functions: Span { first: maps.functions.base, count: self.function_count - maps.functions.base },
            tables: Span { first: maps.tables.base, count: maps.tables.range.count },
            memories: Span { first: maps.memories.base, count: maps.memories.range.count },
            globals: Span { first: maps.globals.base, count: maps.globals.range.count },
            elements: Span { first: maps.elements.base, count: maps.elements.range.count },
            data: Span { first: maps.data.base, count: maps.data.range.count },
        };
        Ok((part, out, maps))
    }

    /// The finished module, without trailing custom sections but that for names, if it shall have them.
    pub fn finish(self, named: bool) -> Result<Vec<u8>, Error> {
        let mut module = wasm_encoder::Module::new();
        module.section(&self.types.section);
        if !self.imports.is_empty() {
            module.section(&self.imports);
        }
        module.section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        if !self.memories.is_empty() {
            module.section(&self.memories);
        }
        if !self.globals.is_empty() {
            module.section(&self.globals);
        }
        module.section(&self.exports);
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if !self.data.is_empty() {
            module.section(&DataCountSection { count: self.data.len() });
        }
        // The encoder counts section sizes in 32 bits.
        let size = (self.code.byte_len() + self.data_bytes) as u64;
        if size > MAX_MODULE {
            return Err(Error::TooLarge { size });
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        if !named {
            return Ok(module.finish());
        }
        let map = |names: &[(u32, String)]| {
            let mut map = NameMap::new();
            names.iter().for_each(|(i, n)| map.append(*i, n));
            map
        };
        let mut names = NameSection::new();
        names.functions(&map(&self.function_names));
        names.memories(&map(&self.memory_names));
        names.globals(&map(&self.global_names));
        module.section(&names);
        Ok(module.finish())
    }
}

/// Appends a custom section to a finished module.
pub fn append_custom(module: &mut Vec<u8>, name: &str, payload: &[u8]) {
    let section = CustomSection { name: name.into(), data: payload.into() };
    module.push(0);
    wasm_encoder::Encode::encode(&section, module);
}

/// The items of `defined` (whose first index is `imported`) that `range` names.
fn slice<T>(defined: &[T], imported: u32, range: Span) -> Option<&[T]> {
    if range.count == 0 {
        return Some(&[]);
    }
    let first = range.first.checked_sub(imported)? as usize;
    defined.get(first..first.checked_add(range.count as usize)?)
}

fn item_count(element: &wasmparser::Element<'_>) -> u32 {
    match &element.items {
        wasmparser::ElementItems::Functions(items) => items.count(),
        wasmparser::ElementItems::Expressions(_, items) => items.count(),
    }
}

/// Where an active data segment goes, when its offset is a plain constant.
pub fn constant_offset(data: &wasmparser::Data<'_>) -> Option<u32> {
    let wasmparser::DataKind::Active { offset_expr, .. } = &data.kind else { return None };
    let mut ops = offset_expr.get_operators_reader();
    match (ops.read(), ops.read()) {
        (Ok(Operator::I32Const { value }), Ok(Operator::End)) => Some(value as u32),
        _ => None,
    }
}

/// Whether an active element segment has a constant offset and fits the table's first size, so that it cannot trap.
fn fits(source: &Module<'_>, element: &wasmparser::Element<'_>) -> bool {
    let ElementKind::Active { table_index, offset_expr } = &element.kind else { return true };
    let table =
        table_index.unwrap_or(0).checked_sub(source.imported_tables).and_then(|i| source.tables.get(i as usize));
    let mut ops = offset_expr.get_operators_reader();
    match (table, ops.read(), ops.read()) {
        (Some(table), Ok(Operator::I32Const { value }), Ok(Operator::End)) => {
            u64::from(value as u32) + u64::from(item_count(element)) <= table.ty.initial
        }
        _ => false,
    }
}

/// The bytes of a constant expression, without its end.
fn raw_expr(remap: &mut Remap<'_>, expr: &wasmparser::ConstExpr<'_>) -> Result<Vec<u8>, ReError<Unmapped>> {
    let mut bytes = Vec::new();
    let mut ops = expr.get_operators_reader();
    while !ops.is_end_then_eof() {
        wasm_encoder::Encode::encode(&remap.parse_instruction(&mut ops)?, &mut bytes);
    }
    Ok(bytes)
}

fn reencode_error(name: &str, e: ReError<Unmapped>) -> Error {
    match e {
        ReError::ParseError(source) => Error::Invalid { name: name.into(), source },
        other => Error::contract(name, other.to_string()),
    }
}
