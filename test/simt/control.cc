// Control flow, barriers, fences, calls. What changes the program counter or waits is done in step.cc; here it is decoded.
#include <cstring>

#include "access.h"
#include "lanes.h"

namespace lantern::simt {

void warpBarrier(Decoder& d);  // warp.cc

namespace {

void bra(Decoder& d) {
  d.take("uni");
  d.insn().kind = InstructionClass::control;
  if (d.operand(0).kind != ptx::Operand::Kind::symbol) d.refuse();
  d.branchTo(d.operand(0).name);
}
void brx(Decoder& d) {
  if (!d.take("idx")) d.refuse();
  d.take("uni");
  d.insn().kind = InstructionClass::control;
  d.use(0, d.operand(0), 4);
  d.branchTable(d.operand(1).name);
}
void ret(Decoder& d) {
  d.take("uni");
  d.insn().kind = InstructionClass::control;
  d.returns();
}
void exitThread(Decoder& d) {
  d.insn().kind = InstructionClass::control;
  d.insn().flow = Flow::exit;
}
void trap(Decoder& d) {
  d.insn().kind = InstructionClass::control;
  d.insn().run = [](Warp& w, const Insn& i) { fail(Result::illegalInstruction, "trap", w, i, std::countr_zero(w.active)); };
}
void nothing(Decoder& d) {
  d.insn().kind = InstructionClass::control;
  if (!d.source().modifiers.empty()) d.takeType();
  d.insn().run = [](Warp&, const Insn&) {};
}

// ---- barriers: operands 0 the result, 1 the number, 2 how many threads, 3 a predicate ----
void barrier(Decoder& d) {
  Insn& i = d.insn();
  i.kind = InstructionClass::control;
  if (d.take("warp")) {
    if (!d.take("sync")) d.refuse();
    return warpBarrier(d);
  }
  d.take("cta");
  d.take("aligned");
  i.flow = Flow::barrier;
  size_t at = 0;
  if (d.take("sync")) {
    i.mode = kBarrierSync;
  } else if (d.take("arrive")) {
    i.mode = kBarrierArrive;
  } else if (d.take("red")) {
    const std::string_view type = d.takeType();
    if (d.take("popc")) i.mode = kBarrierCount;
    else if (d.take("and")) i.mode = kBarrierAnd;
    else if (d.take("or")) i.mode = kBarrierOr;
    else d.refuse();
    if ((i.mode == kBarrierCount) != (type == "u32")) d.refuse();
    if (i.mode == kBarrierCount) d.define(0, d.operand(0), 4);
    else d.usePredicate(0, d.operand(0));
    at = 1;
    const ptx::Operand& p = d.operand(d.operands().size() - 1);
    d.usePredicate(3, p);
    i.negatedPredicate = p.negated;
  } else {
    d.refuse();
  }
  const size_t left = d.operands().size() - at - (at ? 1 : 0);
  if (left < 1 || left > 2) d.refuse();
  d.use(1, d.operand(at), 4);
  i.flag = left == 2;
  if (i.flag) d.use(2, d.operand(at + 1), 4);
  else if (i.mode == kBarrierArrive) d.refuse();
}

// ---- fences ----
void fence(Decoder& d) {
  d.insn().kind = InstructionClass::control;
  d.take("sc");
  d.take("acq_rel");
  const std::string_view scope = d.takeAny();
  if (scope != "cta" && scope != "gl" && scope != "gpu" && scope != "sys") d.refuse();
  d.insn().flag = scope != "cta";
  d.program().hasFences = true;
  d.insn().run = [](Warp& w, const Insn& i) { orderFence(w, i.flag); };
}

void call(Decoder& d) {
  d.take("uni");
  d.insn().kind = InstructionClass::control;
  d.call();
}

}  // namespace

void controlOpcodes(OpcodeTable& t) {
  t["bra"] = bra;
  t["brx"] = brx;
  t["ret"] = ret;
  t["exit"] = exitThread;
  t["trap"] = trap;
  t["nanosleep"] = nothing;
  t["bar"] = barrier;
  t["barrier"] = barrier;
  t["membar"] = fence;
  t["fence"] = fence;
  t["call"] = call;
}

// Functions that the CUDA runtime would provide. `arguments` are the places of the call's parameters in local memory.
void systemCall(Decoder& d, std::string_view name, const std::vector<uint64_t>& arguments) {
  Insn& i = d.insn();
  if (name == "__assertfail" && arguments.size() == 5) {  // message, file, line, function, size of a character
    i.immediate = int64_t(arguments[0]);
    i.run = [](Warp& w, const Insn& in) {
      const int lane = std::countr_zero(w.active);
      uint64_t address;
      std::memcpy(&address, &w.local[uint64_t(lane) * w.run->program.localBytes + uint64_t(in.immediate)], sizeof address);
      std::string message;
      while (const char c = char(*globalPlace(w, in, address++, 1, lane, Access::read))) message += c;
      fail(Result::assertion, "assertion failed: " + message, w, in, lane);
    };
  } else if (name == "vprintf") {
    i.run = [](Warp& w, const Insn& in) { fail(Result::illegalInstruction, "printf is not executed by this machine", w, in, std::countr_zero(w.active)); };
  } else {
    d.refuse("function " + std::string(name) + " is not defined here");
  }
}

}  // namespace lantern::simt
