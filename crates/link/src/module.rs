//! A wasm module, taken apart without copying.

use crate::{Error, features};
use std::collections::BTreeMap;
use wasmparser::{
    Data, Element, Export, FuncType, FunctionBody, Global, Import, KnownCustom, MemoryType, Name, Parser, Payload,
    Table, TypeRef, Validator,
};

/// A parsed module. Index spaces are vectors; where imports come first, the vector holds what the module itself
/// defines and the `imported_*` count says how many indices precede it.
#[derive(Default)]
pub struct Module<'a> {
    pub types: Vec<FuncType>,
    pub imports: Vec<Import<'a>>,
    /// Type index of every function, imported ones first.
    pub function_types: Vec<u32>,
    pub imported_functions: u32,
    pub imported_tables: u32,
    pub imported_memories: u32,
    pub imported_globals: u32,
    pub tables: Vec<Table<'a>>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<Global<'a>>,
    pub exports: Vec<Export<'a>>,
    pub start: Option<u32>,
    pub elements: Vec<Element<'a>>,
    pub bodies: Vec<FunctionBody<'a>>,
    pub data: Vec<Data<'a>>,
    /// Function names of the `name` section.
    pub names: BTreeMap<u32, &'a str>,
    /// Other custom sections: name, offset of the payload in the file, payload.
    pub customs: Vec<(&'a str, usize, &'a [u8])>,
}

impl<'a> Module<'a> {
    /// Validates and parses a linker input.
    pub fn parse_input(name: &str, wasm: &'a [u8]) -> Result<Module<'a>, Error> {
        let invalid = |source| Error::Invalid { name: name.into(), source };
        Validator::new_with_features(features()).validate_all(wasm).map_err(invalid)?;
        Module::parse(wasm).map_err(invalid)
    }

    /// Parses without validating function bodies. What lies in custom sections other than `name` is not read.
    pub fn parse(wasm: &'a [u8]) -> Result<Module<'a>, wasmparser::Error> {
        let mut m = Module::default();
        let mut parser = Parser::new(0);
        parser.set_features(features());
        for payload in parser.parse_all(wasm) {
            match payload? {
                Payload::TypeSection(s) => {
                    for ty in s.into_iter_err_on_gc_types() {
                        m.types.push(ty?);
                    }
                }
                Payload::ImportSection(s) => {
                    for import in s.into_imports() {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                                m.function_types.push(ty);
                                m.imported_functions += 1;
                            }
                            TypeRef::Table(_) => m.imported_tables += 1,
                            TypeRef::Memory(_) => m.imported_memories += 1,
                            TypeRef::Global(_) => m.imported_globals += 1,
                            TypeRef::Tag(_) => {}
                        }
                        m.imports.push(import);
                    }
                }
                Payload::FunctionSection(s) => {
                    for ty in s {
                        m.function_types.push(ty?);
                    }
                }
                Payload::TableSection(s) => m.tables = s.into_iter().collect::<Result<_, _>>()?,
                Payload::MemorySection(s) => m.memories = s.into_iter().collect::<Result<_, _>>()?,
                Payload::GlobalSection(s) => m.globals = s.into_iter().collect::<Result<_, _>>()?,
                Payload::ExportSection(s) => m.exports = s.into_iter().collect::<Result<_, _>>()?,
                Payload::StartSection { func, .. } => m.start = Some(func),
                Payload::ElementSection(s) => m.elements = s.into_iter().collect::<Result<_, _>>()?,
                Payload::CodeSectionEntry(body) => m.bodies.push(body),
                Payload::DataSection(s) => m.data = s.into_iter().collect::<Result<_, _>>()?,
                Payload::CustomSection(s) => match s.as_known() {
                    KnownCustom::Name(names) => m.read_names(names),
                    _ => m.customs.push((s.name(), s.data_offset(), s.data())),
                },
                _ => {}
            }
        }
        Ok(m)
    }

    /// Names are a convenience: what cannot be read is left out.
    fn read_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for name in names.into_iter().flatten() {
            if let Name::Function(map) = name {
                self.names.extend(map.into_iter().flatten().map(|n| (n.index, n.name)));
            }
        }
    }

    /// Type of the function with index `i`.
    pub fn function_type(&self, i: u32) -> Option<&FuncType> {
        self.types.get(*self.function_types.get(i as usize)? as usize)
    }

    /// Body of the function with index `i`, when the module defines it.
    pub fn body(&self, i: u32) -> Option<&FunctionBody<'a>> {
        self.bodies.get(i.checked_sub(self.imported_functions)? as usize)
    }

    /// Index of the function exported as `name`.
    pub fn exported_function(&self, name: &str) -> Option<u32> {
        self.exports.iter().find(|e| e.name == name && e.kind == wasmparser::ExternalKind::Func).map(|e| e.index)
    }

    /// Payloads of the custom sections called `name`.
    pub fn custom(&self, name: &str) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.customs.iter().filter(move |c| c.0 == name).map(|c| (c.1, c.2))
    }
}
