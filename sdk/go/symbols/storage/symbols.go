// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package storageSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk storageNew
func StorageNew(p0 string, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageGet
func StorageGet(p0 string, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageAddFile
func StorageAddFile(p0 uint32, p1 string, p2 *uint32, p3 *byte, p4 uint32, p5 uint32) errno.Error

//go:wasmimport taubyte/sdk storageGetFile
func StorageGetFile(p0 uint32, p1 string, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageReadFile
func StorageReadFile(p0 uint32, p1 uint32, p2 *byte, p3 uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageCloseFile
func StorageCloseFile(p0 uint32, p1 uint32) errno.Error

//go:wasmimport taubyte/sdk storageDeleteFile
func StorageDeleteFile(p0 uint32, p1 string, p2 uint32, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk storageListVersionsSize
func StorageListVersionsSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageListVersions
func StorageListVersions(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk storageUsedSize
func StorageUsedSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageUsed
func StorageUsed(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk storageCapacitySize
func StorageCapacitySize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageCapacity
func StorageCapacity(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk storageCid
func StorageCid(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk storageCurrentVersionSize
func StorageCurrentVersionSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageCurrentVersion
func StorageCurrentVersion(p0 string, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk storageListFilesSize
func StorageListFilesSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageListFiles
func StorageListFiles(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk storageNewContent
func StorageNewContent(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk storageOpenCid
func StorageOpenCid(p0 *uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk contentCloseFile
func ContentCloseFile(p0 uint32) errno.Error

//go:wasmimport taubyte/sdk contentFileCid
func ContentFileCid(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk contentReadFile
func ContentReadFile(p0 uint32, p1 *byte, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk contentWriteFile
func ContentWriteFile(p0 uint32, p1 *byte, p2 uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk contentPushFile
func ContentPushFile(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk contentSeekFile
func contentSeekFileNarrow(p0 uint32, p1 int64, p2 uint32, p3 *uint32) errno.Error

func ContentSeekFile(p0 uint32, p1 int64, p2 int, p3 *int) errno.Error {
	var p3Here uint32
	result := contentSeekFileNarrow(p0, p1, uint32(p2), &p3Here)
	*p3 = int(p3Here)
	return result
}
