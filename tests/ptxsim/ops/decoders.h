// The decoders, one per opcode, by the file that defines them.
#pragma once

#include "core/statement.h"

namespace ptxsim {

// integer.cc
void DecodeAdd(const Statement&, Builder&, Instr*);  // and the float forms of these, through DecodeFloat*
void DecodeSub(const Statement&, Builder&, Instr*);
void DecodeMul(const Statement&, Builder&, Instr*);
void DecodeMad(const Statement&, Builder&, Instr*);
void DecodeDiv(const Statement&, Builder&, Instr*);
void DecodeRem(const Statement&, Builder&, Instr*);
void DecodeMin(const Statement&, Builder&, Instr*);
void DecodeMax(const Statement&, Builder&, Instr*);
void DecodeAbs(const Statement&, Builder&, Instr*);
void DecodeNeg(const Statement&, Builder&, Instr*);

// bits.cc
void DecodeAnd(const Statement&, Builder&, Instr*);
void DecodeOr(const Statement&, Builder&, Instr*);
void DecodeXor(const Statement&, Builder&, Instr*);
void DecodeNot(const Statement&, Builder&, Instr*);
void DecodeShl(const Statement&, Builder&, Instr*);
void DecodeShr(const Statement&, Builder&, Instr*);
void DecodeShf(const Statement&, Builder&, Instr*);
void DecodeBfe(const Statement&, Builder&, Instr*);
void DecodeBfi(const Statement&, Builder&, Instr*);
void DecodeBfind(const Statement&, Builder&, Instr*);
void DecodeBmsk(const Statement&, Builder&, Instr*);
void DecodeBrev(const Statement&, Builder&, Instr*);
void DecodeClz(const Statement&, Builder&, Instr*);
void DecodePopc(const Statement&, Builder&, Instr*);
void DecodePrmt(const Statement&, Builder&, Instr*);
void DecodeLop3(const Statement&, Builder&, Instr*);

// float.cc
Handler FloatAdd(const Statement&, Type);
Handler FloatSub(const Statement&, Type);
Handler FloatMul(const Statement&, Type);
Handler FloatDiv(const Statement&, Type);
Handler FloatMin(const Statement&, Type);
Handler FloatMax(const Statement&, Type);
Handler FloatAbs(const Statement&, Type);
Handler FloatNeg(const Statement&, Type);
Handler FloatFma(const Statement&, Type);
void DecodeFma(const Statement&, Builder&, Instr*);
void DecodeFloatUnary(const Statement&, Builder&, Instr*);  // sqrt rsqrt rcp ex2 lg2 sin cos tanh
void DecodeCopysign(const Statement&, Builder&, Instr*);

// compare.cc
void DecodeSetp(const Statement&, Builder&, Instr*);
void DecodeSet(const Statement&, Builder&, Instr*);
void DecodeSelp(const Statement&, Builder&, Instr*);
void DecodeSlct(const Statement&, Builder&, Instr*);
void DecodeTestp(const Statement&, Builder&, Instr*);

// convert.cc
void DecodeCvt(const Statement&, Builder&, Instr*);
void DecodeMov(const Statement&, Builder&, Instr*);

// memory.cc
void DecodeLd(const Statement&, Builder&, Instr*);
void DecodeSt(const Statement&, Builder&, Instr*);
void DecodeCvta(const Statement&, Builder&, Instr*);
void DecodeIsspacep(const Statement&, Builder&, Instr*);
void DecodePrefetch(const Statement&, Builder&, Instr*);

// atomic.cc
void DecodeAtom(const Statement&, Builder&, Instr*);
void DecodeRed(const Statement&, Builder&, Instr*);
void DecodeFence(const Statement&, Builder&, Instr*);

// async_copy.cc
void DecodeCp(const Statement&, Builder&, Instr*);

// warp_ops.cc
void DecodeShfl(const Statement&, Builder&, Instr*);
void DecodeVote(const Statement&, Builder&, Instr*);
void DecodeMatch(const Statement&, Builder&, Instr*);
void DecodeRedux(const Statement&, Builder&, Instr*);
void DecodeActivemask(const Statement&, Builder&, Instr*);
void DecodeElect(const Statement&, Builder&, Instr*);

// tensor.cc
void DecodeMma(const Statement&, Builder&, Instr*);
void DecodeLdmatrix(const Statement&, Builder&, Instr*);
void DecodeStmatrix(const Statement&, Builder&, Instr*);
void DecodeMovmatrix(const Statement&, Builder&, Instr*);

// control.cc
void DecodeBra(const Statement&, Builder&, Instr*);
void DecodeBrx(const Statement&, Builder&, Instr*);
void DecodeCall(const Statement&, Builder&, Instr*);
void DecodeRet(const Statement&, Builder&, Instr*);
void DecodeExit(const Statement&, Builder&, Instr*);
void DecodeTrap(const Statement&, Builder&, Instr*);
void DecodeBar(const Statement&, Builder&, Instr*);
void DecodeNothing(const Statement&, Builder&, Instr*);

}  // namespace ptxsim
