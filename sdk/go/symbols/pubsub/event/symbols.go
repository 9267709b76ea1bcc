// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package pubsubSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk getMessageData
func GetMessageData(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getMessageDataSize
func GetMessageDataSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getMessageChannel
func GetMessageChannel(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getMessageChannelSize
func GetMessageChannelSize(p0 uint32, p1 *uint32) errno.Error
