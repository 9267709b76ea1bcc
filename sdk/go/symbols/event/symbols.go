// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package eventSym

//go:wasmimport taubyte/sdk getEventType
func GetEventType(p0 uint32, p1 *uint32)
