//! Runs `_initialize` once and takes the snapshot: a Go guest then starts in 33 instead of 516 us.
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::{
    Caller, Config, Engine, Extern, Instance, Linker, Module, OptLevel, Result, Store, StoreLimits,
    StoreLimitsBuilder, Val, bail, error::Context as _,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

const MEMORY_BYTES_MAX: usize = 1 << 30;
const WASI: &str = "wasi_snapshot_preview1";
const EBADF: i32 = 8; // of WASI
const EFAULT: i32 = 21;

type State = StoreLimits;

/// What Wizer reads after `_initialize`; its instrumented module exports every global and memory.
struct Snapshot {
    store: Store<State>,
    instance: Instance,
}

impl InstanceState for Snapshot {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name).expect("exported");
        match global.get(&mut self.store) {
            Val::I32(x) => SnapshotVal::I32(x),
            Val::I64(x) => SnapshotVal::I64(x),
            Val::F32(x) => SnapshotVal::F32(x),
            Val::F64(x) => SnapshotVal::F64(x),
            Val::V128(x) => SnapshotVal::V128(x.as_u128()),
            _ => unreachable!("Wizer refuses mutable globals of reference types"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name).expect("exported");
        contents(memory.data(&self.store));
    }
}

/// Ends a future that never waits for anything outside itself.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
}

fn guest_write(caller: &mut Caller<'_, State>, at: u32, bytes: &[u8]) -> i32 {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) if memory.write(&mut *caller, at as usize, bytes).is_ok() => 0,
        _ => EFAULT,
    }
}

fn clock_time_get(started: Instant, caller: &mut Caller<'_, State>, clock: i32, at: u32) -> i32 {
    let now = match clock {
        0 => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        _ => started.elapsed(),
    };
    guest_write(caller, at, &(now.as_nanos() as u64).to_le_bytes())
}

unsafe extern "C" {
    fn getrandom(at: *mut u8, len: usize, flags: u32) -> isize;
}

fn random_get(caller: &mut Caller<'_, State>, mut at: u32, mut len: u32) -> i32 {
    let mut bytes = [0u8; 256];
    while len > 0 {
        let part = len.min(bytes.len() as u32);
        // Up to 256 bytes are never interrupted nor cut (getrandom(2)).
        if unsafe { getrandom(bytes.as_mut_ptr(), part as usize, 0) } != part as isize {
            return EFAULT;
        }
        match guest_write(caller, at, &bytes[..part as usize]) {
            0 => (at, len) = (at.wrapping_add(part), len - part),
            error => return error,
        }
    }
    0
}

/// The module as `_initialize` leaves it, without that export.
pub fn run(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut wizer = Wizer::new();
    wizer.init_func("_initialize");
    let (context, instrumented) = wizer.instrument(wasm)?;

    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None); // it runs once
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, &instrumented).context("compile the module")?;
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);

    let started = Instant::now();
    let mut linker: Linker<State> = Linker::new(&engine);
    linker.func_wrap(
        WASI,
        "clock_time_get",
        move |mut caller: Caller<'_, State>, clock: i32, _precision: i64, at: u32| -> i32 {
            clock_time_get(started, &mut caller, clock, at)
        },
    )?;
    linker.func_wrap(
        WASI,
        "random_get",
        |mut caller: Caller<'_, State>, at: u32, len: u32| -> i32 {
            random_get(&mut caller, at, len)
        },
    )?;
    // "Done" for ever more folders is what Go's syscall package would ask about until memory ends.
    linker.func_wrap(WASI, "fd_prestat_get", |_fd: i32, _at: i32| -> i32 { EBADF })?;
    linker.define_unknown_imports_as_default_values(&mut store, &module)?;
    let instance = linker.instantiate(&mut store, &module).context("instantiate the module")?;
    let Some(initialize) = instance.get_func(&mut store, "_initialize") else {
        bail!("the module does not export _initialize");
    };
    initialize
        .typed::<(), ()>(&store)
        .context("_initialize")?
        .call(&mut store, ())
        .context("run _initialize")?;
    finish(wizer.snapshot(&context, &mut Snapshot { store, instance }))
}
