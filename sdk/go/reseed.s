// The current goroutine, for reseed.go.
#include "textflag.h"

TEXT ·ctauG(SB), NOSPLIT, $0-8
	MOVD g, ret+0(FP)
	RET
