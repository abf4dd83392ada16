//! What can be said of a component before it is compiled: compiling bytes of unknown origin costs more than reading them.

use std::path::Path;

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::error::WasmError;

/// A component file. Writers in Rust take 20 to 200 KB; languages that bring a runtime take a few MB.
pub(crate) const COMPONENT_BYTES_MAX: usize = 16 << 20;
/// One function. Compiling takes more than linear time in it, and generated state machines stay far below.
const FUNCTION_BYTES_MAX: usize = 512 << 10;
/// All functions of a component.
const FUNCTIONS_MAX: usize = 50_000;
/// Modules and components inside one: those that the component encoder makes, several times over.
const NESTED_MAX: usize = 32;

/// The package whose interfaces writers import and export.
const PACKAGE: &str = "mysync:writer/";
const IMPORTS: [&str; 3] = ["types", "redis", "diagnostics"];
const EXPORT: &str = "writer";
/// Components of another 0.x version have another contract.
const VERSION: &str = "0.1.";

/// The bytes as a component that imports nothing but the contract's interfaces and exports the writer's; a core module is made into one.
pub(crate) fn inspect(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, WasmError> {
    let inspection = Inspection { path };
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(inspection.too_large("the file", COMPONENT_BYTES_MAX));
    }
    let component = if Parser::is_component(&bytes) {
        bytes
    } else if Parser::is_core_wasm(&bytes) {
        inspection.core_imports(&bytes)?;
        let encoded = ComponentEncoder::default().module(&bytes).and_then(|encoder| encoder.validate(true).encode());
        encoded.map_err(|error| inspection.invalid(format!("{error:#}")))?
    } else {
        return Err(inspection.invalid("it does not begin as WebAssembly does"));
    };
    inspection.component(&component)?;
    Ok(component)
}

struct Inspection<'a> {
    path: &'a Path,
}

impl Inspection<'_> {
    fn invalid(&self, reason: impl ToString) -> WasmError {
        WasmError::Invalid { path: self.path.to_owned(), reason: reason.to_string() }
    }

    fn too_large(&self, what: impl ToString, max: usize) -> WasmError {
        WasmError::TooLarge { path: self.path.to_owned(), what: what.to_string(), max }
    }

    fn refused(&self, import: String) -> WasmError {
        WasmError::ImportRefused { path: self.path.to_owned(), import }
    }

    fn world(&self, reason: String) -> WasmError {
        WasmError::World { path: self.path.to_owned(), reason }
    }

    /// The component encoder would say less clearly what an import is that it does not know.
    fn core_imports(&self, bytes: &[u8]) -> Result<(), WasmError> {
        for payload in Parser::new(0).parse_all(bytes) {
            if let Payload::ImportSection(imports) = payload.map_err(|error| self.invalid(error))? {
                for import in imports.into_imports() {
                    let import = import.map_err(|error| self.invalid(error))?;
                    if !import.module.contains("mysync:") {
                        return Err(self.refused(format!("{}.{}", import.module, import.name)));
                    }
                }
            }
        }
        Ok(())
    }

    fn component(&self, bytes: &[u8]) -> Result<(), WasmError> {
        let (mut depth, mut nested, mut functions) = (0_usize, 0_usize, 0_usize);
        let mut writes = false;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(|error| self.invalid(error))? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    nested += 1;
                    if nested > NESTED_MAX {
                        return Err(self.too_large("the number of nested modules", NESTED_MAX));
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CodeSectionEntry(body) => {
                    functions += 1;
                    if functions > FUNCTIONS_MAX {
                        return Err(self.too_large("the number of functions", FUNCTIONS_MAX));
                    }
                    if body.range().len() > FUNCTION_BYTES_MAX {
                        return Err(self.too_large(format!("function {functions}"), FUNCTION_BYTES_MAX));
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        self.import(import.map_err(|error| self.invalid(error))?.name.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let name = export.map_err(|error| self.invalid(error))?.name.name;
                        writes |= self.interface(name)? == Some(EXPORT);
                    }
                }
                _ => {}
            }
        }
        if writes { Ok(()) } else { Err(self.world(format!("it does not export {PACKAGE}{EXPORT}"))) }
    }

    fn import(&self, name: &str) -> Result<(), WasmError> {
        match self.interface(name)? {
            Some(interface) if IMPORTS.contains(&interface) => Ok(()),
            _ => Err(self.refused(name.to_owned())),
        }
    }

    /// The interface of `mysync:writer@0.1` that `name` names; `None` for a name of another package.
    fn interface<'n>(&self, name: &'n str) -> Result<Option<&'n str>, WasmError> {
        let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
            return Ok(None);
        };
        if version.starts_with(VERSION) { Ok(Some(interface)) } else { Err(self.world(format!("it uses {name}"))) }
    }
}
