//! Turning a WebAssembly file into what an enclave runs.
//!
//! A component is taken as it is. A core module for WASI preview 1 becomes a
//! component with the published adapter. What a component is follows from its
//! exports: `wasi:http/incoming-handler` makes a service, `wasi:cli/run` a job.

use handshake::{Bundle, BundleFile, LabelVariable};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wire::PayloadKind;

/// A program, uncompiled: language runtimes are tens of MiB.
pub const MAX_PROGRAM_BYTES: usize = 256 * 1024 * 1024;

/// Why a file is no payload: its author's fault.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Over [`MAX_PROGRAM_BYTES`].
    #[error("the program has {0} bytes; the limit is {MAX_PROGRAM_BYTES}")]
    TooLarge(usize),
    /// Neither a component nor a core module.
    #[error("the file is no WebAssembly; build for the target wasm32-wasip2 (or wasm32-wasip1)")]
    NotWasm,
    /// The WebAssembly text format.
    #[error("the file is WebAssembly text; translate it first (wasm-tools parse)")]
    Text,
    /// Damaged.
    #[error("the WebAssembly does not parse: {0}")]
    Malformed(String),
    /// A module that cannot become a component.
    #[error("the core module cannot be made a component: {0}")]
    Adapt(String),
    /// A component with neither entry point.
    #[error(
        "the component exports neither wasi:http/incoming-handler@0.2 (a service) nor \
         wasi:cli/run@0.2 (a job); it exports: {}", list(.0)
    )]
    NoEntryPoint(Vec<String>),
    /// Both, so that what to run is unclear.
    #[error("the component exports both a service's and a job's entry point")]
    TwoEntryPoints,
    /// The bundle is over a limit.
    #[error(transparent)]
    Bundle(#[from] handshake::ContainerError),
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// A program that an enclave can run.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is.
    pub kind: PayloadKind,
    /// The component.
    pub component: Vec<u8>,
    /// Whether it was a core module and was adapted.
    pub adapted: bool,
}

/// Reads a WebAssembly file.
///
/// Errors: [`PayloadError`], with what the author can do about it.
pub fn read_program(bytes: Vec<u8>) -> Result<Program, PayloadError> {
    if bytes.len() > MAX_PROGRAM_BYTES {
        return Err(PayloadError::TooLarge(bytes.len()));
    }
    let (component, adapted) = if Parser::is_component(&bytes) {
        (bytes, false)
    } else if Parser::is_core_wasm(&bytes) {
        (adapt(&bytes)?, true)
    } else if bytes.trim_ascii_start().starts_with(b"(") {
        return Err(PayloadError::Text);
    } else {
        return Err(PayloadError::NotWasm);
    };
    Ok(Program {
        kind: kind(&component)?,
        component,
        adapted,
    })
}

/// A payload: the program and what it is given.
///
/// Shape: `inputs` appear to it beneath `/input`, read-only.
pub fn bundle(
    program: Program,
    args: Vec<String>,
    env: Vec<(String, String)>,
    label_keys: Vec<LabelVariable>,
    inputs: Vec<BundleFile>,
) -> Bundle {
    Bundle {
        kind: program.kind,
        args,
        env,
        label_keys,
        component: program.component,
        inputs,
    }
}

fn malformed(error: wasmparser::BinaryReaderError) -> PayloadError {
    PayloadError::Malformed(error.to_string())
}

/// Makes a component of a core module for WASI preview 1.
fn adapt(module: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let adapter = if exports_start(module)? {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        // A module built against an interface description (a service, for
        // instance) carries its world; the adapter adds what is left.
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    wit_component::ComponentEncoder::default()
        .module(module)
        .map_err(|error| PayloadError::Adapt(format!("{error:#}")))?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)
        .map_err(|error| PayloadError::Adapt(format!("{error:#}")))?
        .validate(true)
        .encode()
        .map_err(|error| PayloadError::Adapt(format!("{error:#}")))
}

fn exports_start(module: &[u8]) -> Result<bool, PayloadError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload.map_err(malformed)? {
            for export in section {
                if export.map_err(malformed)?.name == "_start" {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// What a component is, by its exports.
fn kind(component: &[u8]) -> Result<PayloadKind, PayloadError> {
    let mut depth = 0u32;
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    let has = |interface: &str| {
        exports.iter().any(|name| {
            name.split_once('@')
                .is_some_and(|(n, v)| n == interface && v.starts_with("0.2"))
        })
    };
    match (has("wasi:http/incoming-handler"), has("wasi:cli/run")) {
        (true, false) => Ok(PayloadKind::Service),
        (false, true) => Ok(PayloadKind::Job),
        (true, true) => Err(PayloadError::TwoEntryPoints),
        (false, false) => Err(PayloadError::NoEntryPoint(exports)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module for WASI preview 1 that exits: `(module (import
    /// "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (memory (export
    /// "memory") 1) (func (export "_start") (call 0 (i32.const 3))))`.
    fn preview1_module(start: &str) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let mut section = |id: u8, body: &[u8]| {
            module.push(id);
            module.push(body.len() as u8);
            module.extend_from_slice(body);
        };
        section(1, b"\x02\x60\x01\x7f\0\x60\0\0");
        let mut import = b"\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0".to_vec();
        section(2, &import);
        section(3, b"\x01\x01");
        section(5, b"\x01\0\x01");
        import = b"\x02\x06memory\x02\0".to_vec();
        import.push(start.len() as u8);
        import.extend_from_slice(start.as_bytes());
        import.extend_from_slice(b"\0\x01");
        section(7, &import);
        section(10, b"\x01\x06\0\x41\x03\x10\0\x0b");
        module
    }

    #[test]
    fn a_preview_1_command_becomes_a_job() {
        let program = read_program(preview1_module("_start")).unwrap();
        assert_eq!(program.kind, PayloadKind::Job);
        assert!(program.adapted && Parser::is_component(&program.component));
        // What is a component already is taken as it is.
        let again = read_program(program.component.clone()).unwrap();
        assert_eq!(again.component, program.component);
        assert!(!again.adapted);
    }

    #[test]
    fn a_module_without_entry_point_is_refused_with_the_reason() {
        let error = read_program(preview1_module("begin")).unwrap_err();
        assert!(matches!(
            error,
            PayloadError::NoEntryPoint(_) | PayloadError::Adapt(_)
        ));
    }

    #[test]
    fn what_is_no_webassembly_is_refused() {
        let refused = |bytes: &[u8]| read_program(bytes.to_vec()).unwrap_err();
        assert!(matches!(refused(b"#!/bin/sh"), PayloadError::NotWasm));
        assert!(matches!(refused(b""), PayloadError::NotWasm));
        assert!(matches!(refused(b"  (module)"), PayloadError::Text));
        let mut cut = preview1_module("_start");
        cut.truncate(30);
        assert!(matches!(
            refused(&cut),
            PayloadError::Malformed(_) | PayloadError::Adapt(_)
        ));
    }
}
