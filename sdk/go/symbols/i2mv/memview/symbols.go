// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package memviewSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk memoryViewNew
func MemoryViewNew(p0 *byte, p1 uint32, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk memoryViewOpen
func MemoryViewOpen(p0 uint32, p1 *uint32, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk memoryViewRead
func MemoryViewRead(p0 uint32, p1 uint32, p2 uint32, p3 *byte, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk memoryViewClose
func MemoryViewClose(p0 uint32)
