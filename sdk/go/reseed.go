// Draws the random state of a pre-initialised guest anew; the host calls it once per instance.
//
// A Go guest is started once, while it is built, and every instance begins from that snapshot. What
// math/rand and new maps take from the runtime would be the same in all of them, so the runtime's
// two generators start again here: the global one from the host's randomness, then the thread's.
package main

import "unsafe"

// Where runtime.globalRand keeps `init`: behind a mutex, a seed and the generator's state.
const globalRandInit = 8 + 32 + 304

// Where runtime.g keeps its m: behind the stack's bounds, two guards, _panic and _defer.
const gM = 48

//go:linkname ctauGlobalRand runtime.globalRand
var ctauGlobalRand [globalRandInit + 8]byte

//go:linkname ctauRandInit runtime.randinit
func ctauRandInit()

//go:linkname ctauThreadRandInit runtime.mrandinit
func ctauThreadRandInit(m unsafe.Pointer)

func ctauG() unsafe.Pointer

//go:wasmexport _reseed
func ctauReseed() {
	ctauGlobalRand[globalRandInit] = 0 // else it is "randinit twice"
	ctauRandInit()
	ctauThreadRandInit(*(*unsafe.Pointer)(unsafe.Add(ctauG(), gM)))
}
