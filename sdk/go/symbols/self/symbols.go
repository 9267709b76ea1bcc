// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package selfSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk selfApplicationSize
func ApplicationSize(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk selfApplication
func Application(p0 *byte) errno.Error

//go:wasmimport taubyte/sdk selfProjectSize
func ProjectSize(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk selfProject
func Project(p0 *byte) errno.Error

//go:wasmimport taubyte/sdk selfIdSize
func IdSize(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk selfId
func Id(p0 *byte) errno.Error

//go:wasmimport taubyte/sdk selfCommitSize
func CommitSize(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk selfCommit
func Commit(p0 *byte) errno.Error

//go:wasmimport taubyte/sdk selfBranchSize
func BranchSize(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk selfBranch
func Branch(p0 *byte) errno.Error
