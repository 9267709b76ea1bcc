// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package p2pEventSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk getP2PEventData
func GetP2PEventData(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getP2PEventDataSize
func GetP2PEventDataSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getP2PEventCommand
func GetP2PEventCommand(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getP2PEventCommandSize
func GetP2PEventCommandSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getP2PEventFrom
func GetP2PEventFrom(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getP2PEventFromSize
func GetP2PEventFromSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getP2PEventTo
func GetP2PEventTo(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getP2PEventToSize
func GetP2PEventToSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getP2PEventProtocol
func GetP2PEventProtocol(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getP2PEventProtocolSize
func GetP2PEventProtocolSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk writeP2PResponse
func WriteP2PResponse(p0 uint32, p1 *byte, p2 uint32) errno.Error
