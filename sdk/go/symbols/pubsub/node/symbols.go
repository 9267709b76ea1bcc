// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package pubsubSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk setSubscriptionChannel
func SetSubscriptionChannel(p0 string) errno.Error

//go:wasmimport taubyte/sdk publishToChannel
func PublishToChannel(p0 string, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk getWebSocketURLSize
func GetWebSocketURLSize(p0 string, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getWebSocketURL
func GetWebSocketURL(p0 string, p1 *byte) errno.Error
