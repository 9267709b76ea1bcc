// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package randSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk cryptoRead
func CryptoRead(p0 *byte, p1 uint32, p2 *uint64) errno.Error
