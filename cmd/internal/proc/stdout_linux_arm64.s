#include "textflag.h"

// The entry of the process, as in stdout_linux_amd64.s.
TEXT _rt0_arm64_linux(SB),NOSPLIT|NOFRAME|DUPOK,$0
	MOVD	$1, R0
	MOVD	$1, R1
	MOVD	$25, R8
	SVC
	CMN	$9, R0
	BNE	open
	MOVD	$1, R0
	MOVW	R0, ·stdoutClosed(SB)
open:
	JMP	_rt0_arm64(SB)
