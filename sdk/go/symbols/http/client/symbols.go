// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package httpClientSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk newHttpClient
func NewHttpClient(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk newHttpRequest
func NewHttpRequest(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpRequestHeaderSize
func GetHttpRequestHeaderSize(p0 uint32, p1 uint32, p2 string, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpRequestHeader
func GetHttpRequestHeader(p0 uint32, p1 uint32, p2 string, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk setHttpRequestHeader
func SetHttpRequestHeader(p0 uint32, p1 uint32, p2 string, p3 *byte, p4 uint32) errno.Error

//go:wasmimport taubyte/sdk deleteHttpRequestHeader
func DeleteHttpRequestHeader(p0 uint32, p1 uint32, p2 string) errno.Error

//go:wasmimport taubyte/sdk addHttpRequestHeader
func AddHttpRequestHeader(p0 uint32, p1 uint32, p2 string, p3 string) errno.Error

//go:wasmimport taubyte/sdk getHttpRequestHeaderKeysSize
func GetHttpRequestHeaderKeysSize(p0 uint32, p1 uint32, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpRequestHeaderKeys
func GetHttpRequestHeaderKeys(p0 uint32, p1 uint32, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk setHttpRequestMethod
func SetHttpRequestMethod(p0 uint32, p1 uint32, p2 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpRequestMethod
func GetHttpRequestMethod(p0 uint32, p1 uint32, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk setHttpRequestBody
func SetHttpRequestBody(p0 uint32, p1 uint32, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk setHttpRequestURL
func SetHttpRequestURL(p0 uint32, p1 uint32, p2 string) errno.Error

//go:wasmimport taubyte/sdk doHttpRequest
func DoHttpRequest(p0 uint32, p1 uint32) errno.Error

//go:wasmimport taubyte/sdk readHttpResponseBody
func ReadHttpResponseBody(p0 uint32, p1 uint32, p2 *byte, p3 uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk closeHttpResponseBody
func CloseHttpResponseBody(p0 uint32, p1 uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpResponseHeaderSize
func GetHttpResponseHeaderSize(p0 uint32, p1 uint32, p2 string, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpResponseHeader
func GetHttpResponseHeader(p0 uint32, p1 uint32, p2 string, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk getHttpResponseHeaderKeysSize
func GetHttpResponseHeaderKeysSize(p0 uint32, p1 uint32, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk getHttpResponseHeaderKeys
func GetHttpResponseHeaderKeys(p0 uint32, p1 uint32, p2 *byte, p3 uint32) errno.Error
