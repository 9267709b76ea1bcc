// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package ipfsClientSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk newIpfsClient
func NewIPFSClient(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk ipfsNewContent
func IpfsNewContent(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk ipfsOpenFile
func IpfsOpenFile(p0 uint32, p1 *uint32, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ipfsCloseFile
func IpfsCloseFile(p0 uint32, p1 uint32) errno.Error

//go:wasmimport taubyte/sdk ipfsFileCid
func IpfsFileCid(p0 uint32, p1 uint32, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ipfsReadFile
func IpfsReadFile(p0 uint32, p1 uint32, p2 *byte, p3 uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk ipfsWriteFile
func IpfsWriteFile(p0 uint32, p1 uint32, p2 *byte, p3 uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk ipfsPushFile
func IpfsPushFile(p0 uint32, p1 uint32, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ipfsSeekFile
func ipfsSeekFileNarrow(p0 uint32, p1 uint32, p2 int64, p3 uint32, p4 *uint32) errno.Error

func IpfsSeekFile(p0 uint32, p1 uint32, p2 int64, p3 int, p4 *int) errno.Error {
	var p4Here uint32
	result := ipfsSeekFileNarrow(p0, p1, p2, uint32(p3), &p4Here)
	*p4 = int(p4Here)
	return result
}
