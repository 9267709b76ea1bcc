// Made by tools/go-symbols: host functions of taubyte/sdk as the standard Go toolchain wants them.

//go:build wasm

package dnsSym

import "github.com/taubyte/go-sdk/errno"

//go:wasmimport taubyte/sdk dnsNewResolver
func DnsNewResolver(p0 *uint32) errno.Error

//go:wasmimport taubyte/sdk dnsRerouteResolver
func DnsRerouteResolver(p0 uint32, p1 string, p2 string) errno.Error

//go:wasmimport taubyte/sdk dnsResetResolver
func DnsResetResolver(p0 uint32) errno.Error

//go:wasmimport taubyte/sdk dnsLookupTxTSize
func DnsLookupTxTSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk dnsLookupTxT
func DnsLookupTxT(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk dnsLookupAddressSize
func DnsLookupAddressSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk dnsLookupAddress
func DnsLookupAddress(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk dnsLookupCNAMESize
func DnsLookupCNAMESize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk dnsLookupCNAME
func DnsLookupCNAME(p0 uint32, p1 string, p2 *byte) errno.Error

//go:wasmimport taubyte/sdk dnsLookupMXSize
func DnsLookupMXSize(p0 uint32, p1 string, p2 *uint32) errno.Error

//go:wasmimport taubyte/sdk dnsLookupMX
func DnsLookupMX(p0 uint32, p1 string, p2 *byte) errno.Error
