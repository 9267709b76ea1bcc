// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package fifoSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk fifoNew
func FifoNew(p0 uint32) uint32

//go:wasmimport taubyte/sdk fifoPush
func fifoPushNarrow(p0 uint32, p1 uint32) errno.Error

func FifoPush(p0 uint32, p1 byte) errno.Error {
	result := fifoPushNarrow(p0, uint32(p1))
	return result
}

//go:wasmimport taubyte/sdk fifoPop
func FifoPop(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk fifoIsCloser
func FifoIsCloser(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk fifoClose
func FifoClose(p0 uint32)
