//! Wasmtime's C API as one static library, and the few calls that it lacks (include/engine.h).
mod preinitialize;
mod strip;

pub use wasmtime_c_api;

use std::ffi::{c_char, c_int};
use wasmtime_c_api::WasmtimeStoreContextMut;

#[unsafe(no_mangle)]
pub extern "C" fn engine_limit_memory(mut context: WasmtimeStoreContextMut<'_>, bytes: usize) {
    context.data_mut().store_limits =
        wasmtime::StoreLimitsBuilder::new().memory_size(bytes).trap_on_grow_failure(true).build();
}

/// Writes `text` to the caller's `error_max` bytes, cut if need be, with a NUL.
unsafe fn error_write(text: &str, error: *mut c_char, error_max: usize) {
    if error.is_null() || error_max == 0 {
        return;
    }
    let len = text.len().min(error_max - 1);
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), error, len);
        *error.add(len) = 0;
    }
}

/// # Safety
/// `wasm` is `len` bytes, `out` and `out_len` may be written, `error` is `error_max` bytes or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_preinitialize(
    wasm: *const u8,
    len: usize,
    out: *mut *mut u8,
    out_len: *mut usize,
    error: *mut c_char,
    error_max: usize,
) -> c_int {
    let wasm = unsafe { std::slice::from_raw_parts(wasm, len) };
    let made = preinitialize::run(wasm).and_then(|snapshot| Ok(strip::empty_segments(&snapshot)?));
    match made {
        Ok(bytes) => unsafe {
            let bytes = bytes.into_boxed_slice();
            *out_len = bytes.len();
            *out = Box::into_raw(bytes).cast();
            0
        },
        Err(why) => unsafe {
            error_write(&format!("{why:#}"), error, error_max);
            1
        },
    }
}

/// # Safety
/// `at` and `len` came from engine_preinitialize(), once; or `at` is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_free(at: *mut u8, len: usize) {
    if !at.is_null() {
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(at, len)) });
    }
}
