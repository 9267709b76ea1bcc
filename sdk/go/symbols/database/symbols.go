// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package databaseSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk newDatabase
func NewDatabase(p0 string, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk databaseGet
func DatabaseGet(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk databaseGetSize
func DatabaseGetSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk databasePut
func DatabasePut(p0 uint32, p1 string, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk databaseClose
func DatabaseClose(p0 uint32) errno.Error

//go:wasmimport taubyte/sdk databaseDelete
func DatabaseDelete(p0 uint32, p1 string) errno.Error

//go:wasmimport taubyte/sdk databaseList
func DatabaseList(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk databaseListSize
func DatabaseListSize(p0 uint32, p1 string, p2 *uint32) errno.Error
