// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package globalSym

import "unsafe"

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk getGlobalValueSize
func GetGlobalValueSize(p0 string, p1 uint32, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk getGlobalValue
func GetGlobalValue(p0 string, p1 uint32, p2 uint32, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk getOrCreateGlobalValueSize
func GetOrCreateGlobalValueSize(p0 string, p1 uint32, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk putGlobalValue
func putGlobalValueNarrow(p0 string, p1 uint32, p2 uint32, p3 *byte, p4 uint32, p5 uint32) errno.Error

func PutGlobalValue(p0 string, p1 uint32, p2 uint32, p3 []byte) errno.Error {
	result := putGlobalValueNarrow(p0, p1, p2, unsafe.SliceData(p3), uint32(len(p3)), uint32(cap(p3)))
	return result
}
