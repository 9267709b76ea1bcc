// What the files of host functions share: their prototypes, and giving values to the guest.
#pragma once
#include "vm/vm_inner.h"

#define ABI(module, name, parameters, result, run, waits) \
    uint32_t run(guest *g, wasmtime_val_raw_t *values);
#define LATER(name)
#include "vm/abi.def"

uint32_t abi_give_size(const guest *g, int32_t at, size_t size); // SDK_OK or SDK_MEMORY_WRITE
uint32_t abi_give(const guest *g, int32_t at, str value);        // SDK_OK or SDK_ADDRESS
