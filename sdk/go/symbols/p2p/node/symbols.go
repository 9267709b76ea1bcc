// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package nodeSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk newCommand
func NewCommand(p0 string, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk sendCommand
func SendCommand(p0 uint32, p1 *byte, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk sendCommandTo
func SendCommandTo(p0 uint32, p1 *byte, p2 *byte, p3 uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk readCommandResponse
func ReadCommandResponse(p0 uint32, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk listenToProtocolSize
func ListenToProtocolSize(p0 string, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk listenToProtocol
func ListenToProtocol(p0 string, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk discoverPeersSize
func DiscoverPeersSize(p0 uint32, p1 uint32, p2 *uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk discoverPeers
func DiscoverPeers(p0 uint32, p1 *byte) errno.Error
