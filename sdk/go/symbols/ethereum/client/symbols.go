// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package ethereumSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk ethBlockByNumber
func EthBlockByNumber(p0 uint32, p1 uint32, p2 *byte, p3 *uint64) errno.Error

//go:wasmimport taubyte/sdk ethCurrentBlockNumber
func EthCurrentBlockNumber(p0 uint32, p1 *uint64) errno.Error

//go:wasmimport taubyte/sdk ethBlockNumberFromIdSize
func EthBlockNumberFromIdSize(p0 uint32, p1 *uint64, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethBlockNumberFromId
func EthBlockNumberFromId(p0 uint32, p1 *uint64, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ethCurrentChainIdSize
func EthCurrentChainIdSize(p0 uint32, p1 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethCurrentChainId
func EthCurrentChainId(p0 uint32, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk ethNew
func EthNew(p0 *uint32, p1 string, p2 *byte, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionFromBlockByHash
func EthGetTransactionFromBlockByHash(p0 uint32, p1 *uint64, p2 *uint32, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionsFromBlockSize
func EthGetTransactionsFromBlockSize(p0 uint32, p1 *uint64, p2 *uint32, p3 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionsFromBlock
func EthGetTransactionsFromBlock(p0 uint32, p1 *uint64, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionMethodSize
func EthGetTransactionMethodSize(p0 uint32, p1 *uint64, p2 uint32, p3 uint32, p4 string, p5 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionMethodBytes
func EthGetTransactionMethodBytes(p0 uint32, p1 *uint64, p2 uint32, p3 uint32, p4 string, p5 *byte) errno.Error

//go:wasmimport taubyte/sdk ethTransactionRawSignaturesSize
func EthTransactionRawSignaturesSize(p0 uint32, p1 *uint64, p2 uint32, p3 uint32, p4 *uint32, p5 *uint32, p6 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethTransactionRawSignatures
func EthTransactionRawSignatures(p0 uint32, p1 *uint64, p2 uint32, p3 uint32, p4 *byte, p5 *byte, p6 *byte) errno.Error

//go:wasmimport taubyte/sdk ethSendTransaction
func EthSendTransaction(p0 uint32, p1 *uint64, p2 uint32, p3 uint32) errno.Error

//go:wasmimport taubyte/sdk ethGetTransactionMethodUint64
func EthGetTransactionMethodUint64(p0 uint32, p1 *uint64, p2 uint32, p3 uint32, p4 string, p5 *uint64) errno.Error

//go:wasmimport taubyte/sdk ethNewContractSize
func EthNewContractSize(p0 uint32, p1 *byte, p2 uint32, p3 string, p4 *uint32, p5 *uint32, p6 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethNewContract
func EthNewContract(p0 uint32, p1 uint32, p2 *byte, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk ethCallContractSize
func EthCallContractSize(p0 uint32, p1 uint32, p2 string, p3 *byte, p4 uint32, p5 uint32, p6 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethCallContract
func EthCallContract(p0 uint32, p1 uint32, p2 string, p3 *byte) errno.Error

//go:wasmimport taubyte/sdk ethGetContractMethodSize
func EthGetContractMethodSize(p0 uint32, p1 uint32, p2 string, p3 *uint32, p4 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethGetContractMethod
func EthGetContractMethod(p0 uint32, p1 uint32, p2 string, p3 *byte, p4 *byte) errno.Error

//go:wasmimport taubyte/sdk ethTransactContract
func EthTransactContract(p0 uint32, p1 uint32, p2 *byte, p3 uint32, p4 string, p5 *byte, p6 uint32, p7 *byte, p8 uint32, p9 uint32, p10 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethCloseClient
func EthCloseClient(p0 uint32) errno.Error

//go:wasmimport taubyte/sdk ethDeployContract
func EthDeployContract(p0 uint32, p1 *byte, p2 uint32, p3 string, p4 *byte, p5 uint32, p6 *byte, p7 uint32, p8 *byte, p9 *uint32, p10 *uint32, p11 *uint32, p12 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethSignMessage
func EthSignMessage(p0 *byte, p1 uint32, p2 *byte, p3 uint32, p4 *byte) errno.Error

//go:wasmimport taubyte/sdk ethVerifySignature
func EthVerifySignature(p0 *byte, p1 uint32, p2 *byte, p3 uint32, p4 *byte, p5 *uint32) errno.Error

//go:wasmimport taubyte/sdk ethHexToECDSA
func EthHexToECDSA(p0 string, p1 *byte) errno.Error

//go:wasmimport taubyte/sdk ethPubFromPriv
func EthPubFromPriv(p0 *byte, p1 uint32, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk ethPubKeyFromSignedMessage
func EthPubKeyFromSignedMessage(p0 *byte, p1 uint32, p2 *byte, p3 uint32, p4 *byte) errno.Error

//go:wasmimport taubyte/sdk ethSubscribeContractEvent
func EthSubscribeContractEvent(p0 uint32, p1 uint32, p2 string, p3 string, p4 uint32) errno.Error
