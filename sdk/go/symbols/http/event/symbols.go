// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package httpEventSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk getEventType
func GetEventType(p0 uint32, p1 *uint32)

//go:wasmimport taubyte/sdk getHttpEventMethodSize
func GetHttpEventMethodSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventMethod
func GetHttpEventMethod(p0 uint32, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk eventHttpWrite
func EventHttpWrite(p0 uint32, p1 *byte, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk eventHttpFlush
func EventHttpFlush(p0 uint32) errno.Error

//go:wasmimport taubyte/sdk eventHttpRetCode
func EventHttpRetCode(p0 uint32, p1 uint32) errno.Error

//go:wasmimport taubyte/sdk eventHttpHeaderAdd
func EventHttpHeaderAdd(p0 uint32, p1 string, p2 string) errno.Error

//go:wasmimport taubyte/sdk eventHttpRedirect
func EventHttpRedirect(p0 uint32, p1 string, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk readHttpEventBody
func ReadHttpEventBody(p0 uint32, p1 *byte, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHostSize
func GetHttpEventHostSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHost
func GetHttpEventHost(p0 uint32, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventPathSize
func GetHttpEventPathSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventPath
func GetHttpEventPath(p0 uint32, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventUserAgentSize
func GetHttpEventUserAgentSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventUserAgent
func GetHttpEventUserAgent(p0 uint32, p1 *byte, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventQueryValueByNameSize
func GetHttpEventQueryValueByNameSize(p0 uint32, p1 *uint32, p2 string) errno.Error

//go:wasmimport taubyte/sdk getHttpEventQueryValueByName
func GetHttpEventQueryValueByName(p0 uint32, p1 string, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventRequestQueryKeys
func GetHttpEventRequestQueryKeys(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getHttpEventRequestQueryKeysSize
func GetHttpEventRequestQueryKeysSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHeadersSize
func GetHttpEventHeaderByNameSize(p0 uint32, p1 *uint32, p2 string) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHeaders
func GetHttpEventHeaderByName(p0 uint32, p1 string, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHeaderVarNameById
func GetHttpEventRequestHeaderKeys(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk getHttpEventHeaderVarNameByIdSize
func GetHttpEventRequestHeaderKeysSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk closeHttpEventBody
func CloseHttpEventBody(p0 uint32) errno.Error
