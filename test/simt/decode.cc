// The decoder: functions are inlined, operands become places, labels positions.
#include "decode.h"

#include <algorithm>
#include <cstring>

namespace lantern::simt {

namespace {

const OpcodeTable& opcodes() {
  static const OpcodeTable table = [] {
    OpcodeTable t;
    integerOpcodes(t), bitOpcodes(t), floatOpcodes(t), compareOpcodes(t), moveOpcodes(t), convertOpcodes(t), memoryOpcodes(t), atomicOpcodes(t);
    warpOpcodes(t), matrixOpcodes(t), asyncOpcodes(t), controlOpcodes(t);
    return t;
  }();
  return table;
}

const std::map<std::string_view, Special>& specialNames() {
  static const std::map<std::string_view, Special> names = {
      {"%tid.x", Special::tidX},           {"%tid.y", Special::tidY},           {"%tid.z", Special::tidZ},
      {"%ntid.x", Special::ntidX},         {"%ntid.y", Special::ntidY},         {"%ntid.z", Special::ntidZ},
      {"%ctaid.x", Special::ctaX},         {"%ctaid.y", Special::ctaY},         {"%ctaid.z", Special::ctaZ},
      {"%nctaid.x", Special::nctaX},       {"%nctaid.y", Special::nctaY},       {"%nctaid.z", Special::nctaZ},
      {"%laneid", Special::lane},          {"%warpid", Special::warp},          {"%lanemask_eq", Special::lanemaskEq},
      {"%lanemask_lt", Special::lanemaskLt}, {"%lanemask_le", Special::lanemaskLe}, {"%lanemask_gt", Special::lanemaskGt},
      {"%lanemask_ge", Special::lanemaskGe}, {"%dynamic_smem_size", Special::dynamicShared}, {"%total_smem_size", Special::totalShared}};
  return names;
}

bool isWide(std::string_view type) { return type.ends_with("64"); }
uint32_t roundUp(uint32_t x, uint32_t unit) { return (x + unit - 1) / unit * unit; }

}  // namespace

// ---- modifiers and operands ----

void Decoder::refuse(const std::string& why) const {
  std::string text(source_->text);
  throw Error(Result::invalidPtx, "PTX line " + std::to_string(source_->textLine) + ": " + why + ": " + text);
}

const ptx::Operand& Decoder::operand(size_t i) const {
  if (i >= source_->operands.size()) refuse("too few operands");
  return source_->operands[i];
}

bool Decoder::take(std::string_view modifier) {
  const auto it = std::find(modifiers_.begin(), modifiers_.end(), modifier);
  if (it == modifiers_.end()) return false;
  modifiers_.erase(it);
  return true;
}
std::string_view Decoder::takeType() {
  if (modifiers_.empty()) refuse("a type is missing");
  const std::string_view type = modifiers_.back();
  modifiers_.pop_back();
  return type;
}
std::string_view Decoder::takeAny() {
  if (modifiers_.empty()) refuse("a modifier is missing");
  const std::string_view first = modifiers_.front();
  modifiers_.erase(modifiers_.begin());
  return first;
}

uint32_t Decoder::newRegister(uint32_t bytes) {
  registerBytes_.push_back(uint8_t(bytes));
  return uint32_t(registerBytes_.size() - 1);
}
uint32_t Decoder::registerOf(const ptx::Operand& o) {
  Frame& f = *frames_.back();
  int& r = f.registers[size_t(o.reg)];
  const std::string_view type = f.function->registerTypes[size_t(o.reg)];
  if (r < 0) r = type == "pred" ? int(program_.predicates++) : int(newRegister(isWide(type) ? 8 : 4));
  return uint32_t(r);
}
uint32_t Decoder::bytesOf(const ptx::Operand& o) const {
  if (o.kind != ptx::Operand::Kind::reg) return 0;
  const std::string_view type = frames_.back()->function->registerTypes[size_t(o.reg)];
  return type == "pred" ? 0 : isWide(type) ? 8 : 4;
}

void Decoder::define(int slot, const ptx::Operand& o, uint32_t bytes) {
  if (o.kind == ptx::Operand::Kind::sink) return scratch(slot, bytes);
  if (bytesOf(o) != bytes) refuse("the destination is no register of the size that is written");
  const uint32_t r = registerOf(o);
  insn().operand[slot] = r;
  uses_.push_back({insn().index, uint8_t(slot), true, r});
}
void Decoder::scratch(int slot, uint32_t bytes) {
  insn().operand[slot] = newRegister(bytes);
  uses_.push_back({insn().index, uint8_t(slot), true, insn().operand[slot]});
}
void Decoder::use(int slot, const ptx::Operand& o, uint32_t bytes) {
  uint32_t& place = insn().operand[slot];
  switch (o.kind) {
    case ptx::Operand::Kind::reg:
      if (bytesOf(o) != bytes) refuse("operand " + std::string(o.name) + " has not the size that is read");
      place = registerOf(o);
      break;
    case ptx::Operand::Kind::special: {
      const auto it = specialNames().find(o.name);
      if (it == specialNames().end() || bytes != 4) refuse("unknown special register " + std::string(o.name));
      const auto [known, fresh] = specials_.try_emplace(it->second, 0);
      if (fresh) known->second = newRegister(4);
      place = known->second;
      break;
    }
    case ptx::Operand::Kind::immediate:
      if (o.floating && o.bits != int(bytes) * 8) refuse("a floating-point constant of another size");
      place = constant(o.value, bytes);
      return;
    case ptx::Operand::Kind::symbol:
      place = constant(symbol(o.name) + o.value, bytes);
      return;
    default: refuse("unknown kind of operand");
  }
  uses_.push_back({insn().index, uint8_t(slot), false, place});
}
void Decoder::usePredicate(int slot, const ptx::Operand& o) {
  if (o.kind == ptx::Operand::Kind::sink) {
    insn().operand[slot] = program_.predicates++;
    return;
  }
  if (o.kind != ptx::Operand::Kind::reg || frames_.back()->function->registerTypes[size_t(o.reg)] != "pred") refuse("a predicate is expected");
  insn().operand[slot] = registerOf(o);
}
void Decoder::carryPredicate(int slot) {
  int& carry = frames_.back()->carry;
  if (carry < 0) carry = int(program_.predicates++);
  insn().operand[slot] = uint32_t(carry);
}
void Decoder::address(const ptx::Operand& o, int slot) {
  if (o.kind != ptx::Operand::Kind::address || !o.parts.empty()) refuse("an address is expected");
  ptx::Operand base = o;
  base.value = 0;
  insn().immediate = int64_t(o.value);
  insn().address32 = false;
  if (o.reg >= 0) {
    base.kind = ptx::Operand::Kind::reg;
    insn().address32 = bytesOf(base) == 4;
  } else {
    base.kind = o.name.empty() ? ptx::Operand::Kind::immediate : ptx::Operand::Kind::symbol;
  }
  use(slot, base, insn().address32 ? 4 : 8);
}

uint32_t Decoder::constant(uint64_t value, uint32_t bytes) {
  if (bytes == 4) value = uint32_t(value);
  const auto [it, fresh] = constants_.try_emplace({value, bytes}, 0);
  if (!fresh) return it->second;
  it->second = kConstant | uint32_t(program_.constants.size() * sizeof(ConstantLine));
  for (uint32_t line = 0; line < bytes * kLanes / sizeof(ConstantLine); ++line) {
    ConstantLine& c = program_.constants.emplace_back();
    for (uint32_t at = 0; at < sizeof c.bytes; at += bytes) std::memcpy(c.bytes + at, &value, bytes);
  }
  return it->second;
}

uint64_t Decoder::symbol(std::string_view name) const {
  if (const auto it = frames_.back()->places.find(name); it != frames_.back()->places.end()) return it->second.offset;
  if (const auto it = shared_.find(name); it != shared_.end()) return it->second;
  if (const auto it = variables_.find(std::string(name)); it != variables_.end()) return it->second.address;
  refuse("unknown symbol " + std::string(name));
}
Decoder::Place Decoder::param(const ptx::Operand& o) const {
  const auto it = frames_.back()->places.find(o.name);
  if (it == frames_.back()->places.end()) refuse("unknown parameter " + std::string(o.name));
  return {it->second.space, it->second.offset + o.value};
}

// ---- layout ----

const ptx::Variable* Decoder::sharedVariable(const ptx::Function& f, std::string_view name) const {
  for (const auto* list : {&f.shared, &module_.shared})
    for (const ptx::Variable& v : *list)
      if (v.name == name) return &v;
  return nullptr;
}
void Decoder::collectShared(const ptx::Function& f, std::vector<const ptx::Variable*>& used, std::vector<std::string_view>& visited) {
  if (std::find(visited.begin(), visited.end(), f.name) != visited.end()) return;
  visited.push_back(f.name);
  for (const ptx::Instruction& i : f.code)
    for (const ptx::Operand& o : i.operands) {
      if (o.name.empty() || o.reg >= 0) continue;
      if (const ptx::Variable* v = sharedVariable(f, o.name); v && std::find(used.begin(), used.end(), v) == used.end()) used.push_back(v);
      if (const auto it = module_.functions.find(o.name); it != module_.functions.end()) collectShared(it->second, used, visited);
    }
}
// Each array begins at an odd multiple of its alignment, so that code which counts on more is caught, and gaps keep the arrays apart.
void Decoder::layoutShared(const ptx::Function& f) {
  std::vector<const ptx::Variable*> used;
  std::vector<std::string_view> visited;
  collectShared(f, used, visited);
  uint32_t at = 0, dynamicAlignment = 1;
  auto place = [&](uint32_t alignment) { return at == 0 ? 0 : roundUp(at + 16, std::max(alignment, 128u)) + (alignment < 128 ? alignment : 0); };
  for (const ptx::Variable* v : used) {
    if (v->isExtern) {
      program_.usesDynamicShared = true;
      dynamicAlignment = std::max(dynamicAlignment, v->alignment);
      continue;
    }
    at = place(v->alignment);
    shared_[v->name] = at;
    program_.sharedArrays.push_back({std::string(v->name), at, v->bytes});
    at += v->bytes;
    kernel_.staticShared = roundUp(kernel_.staticShared, v->alignment) + v->bytes;
  }
  program_.sharedBytes = place(dynamicAlignment);
  for (const ptx::Variable* v : used)
    if (v->isExtern) shared_[v->name] = program_.sharedBytes;
}
uint64_t Decoder::reserveLocal(uint32_t bytes, uint32_t alignment) {
  const uint32_t at = roundUp(program_.localBytes, alignment);
  program_.localBytes = at + bytes;
  return at;
}

uint32_t Decoder::sourceIndex(const ptx::Location& l) {
  const auto [it, fresh] = sources_.try_emplace({l.file, l.line, l.inlinedFile, l.inlinedLine}, uint32_t(program_.sources.size()));
  if (fresh) {
    auto file = [&](int index) {
      const auto f = module_.files.find(index);
      const std::string& path = f == module_.files.end() ? "" : f->second;
      return path.substr(path.rfind('/') + 1);
    };
    Source s{file(l.file), uint32_t(l.line), {}};
    if (l.inlinedLine) s.inlinedAt = file(l.inlinedFile) + ":" + std::to_string(l.inlinedLine);
    program_.sources.push_back(s);
  }
  return it->second;
}

// ---- control flow ----

void Decoder::branchTo(std::string_view label) {
  insn().flow = Flow::branch;
  frames_.back()->branches.emplace_back(insn().index, label);
}
void Decoder::branchTable(std::string_view table) {
  insn().flow = Flow::branchTable;
  insn().target = uint32_t(program_.branchTables.size());
  program_.branchTables.emplace_back();
  frames_.back()->tables.emplace_back(table, insn().target);
}
void Decoder::returns() {
  if (frames_.size() > 1) branchTo({});
  else insn().flow = Flow::exit;
}

// A call becomes the function's own instructions; its parameters are the caller's .param variables.
void Decoder::call() {
  const ptx::Operand* results = nullptr;
  const ptx::Operand* arguments = nullptr;
  size_t at = 0;
  if (operand(0).kind == ptx::Operand::Kind::vector) results = &operand(at++);
  const ptx::Operand& callee = operand(at++);
  if (at < operands().size() && operand(at).kind == ptx::Operand::Kind::vector) arguments = &operand(at++);
  if (at != operands().size() || callee.kind != ptx::Operand::Kind::symbol) refuse("calls through pointers are not known");
  const auto it = module_.functions.find(callee.name);
  if (it == module_.functions.end()) refuse("function " + std::string(callee.name) + " is not declared");
  if (!it->second.isDefined) {
    std::vector<uint64_t> places;
    for (size_t i = 0; arguments && i < arguments->parts.size(); ++i) places.push_back(param(arguments->parts[i]).offset);
    return systemCall(*this, callee.name, places);
  }
  for (const Frame* f : frames_)
    if (f->function == &it->second) refuse("recursion is not known");

  Frame frame;
  frame.function = &it->second;
  auto bind = [&](const std::vector<ptx::Variable>& formal, const ptx::Operand* actual) {
    if (formal.size() != (actual ? actual->parts.size() : 0)) refuse("a call with the wrong number of arguments");
    for (size_t i = 0; i < formal.size(); ++i) frame.places[formal[i].name] = param(actual->parts[i]);
  };
  bind(it->second.params, arguments);
  bind(it->second.results, results);
  const ptx::Instruction* caller = source_;
  insn().flow = Flow::next;  // the call itself does nothing
  function(frame);
  source_ = caller;
}

void Decoder::function(Frame& frame) {
  const ptx::Function& f = *frame.function;
  frame.registers.assign(f.registerTypes.size(), -1);
  for (const auto& v : f.local) frame.places[v.name] = {Space::local, reserveLocal(v.bytes, v.alignment)};
  std::map<std::string_view, std::pair<uint32_t, uint32_t>> callParams;  // each call of a function declares them anew, under the same names
  for (const auto& v : f.callParams) {
    auto& [bytes, alignment] = callParams[v.name];
    bytes = std::max(bytes, v.bytes), alignment = std::max(alignment, v.alignment);
  }
  for (const auto& [name, size] : callParams) frame.places[name] = {Space::local, reserveLocal(size.first, std::max(size.second, 1u))};

  frames_.push_back(&frame);
  for (const ptx::Instruction& i : f.code) {
    frame.starts.push_back(uint32_t(program_.code.size()));
    instruction(i);
  }
  frame.starts.push_back(uint32_t(program_.code.size()));
  auto position = [&](std::string_view label) {
    if (label.empty()) return frame.starts.back();
    const auto it = f.labels.find(label);
    if (it == f.labels.end()) throw Error(Result::invalidPtx, "function " + std::string(f.name) + ": unknown label " + std::string(label));
    return frame.starts[it->second];
  };
  for (const auto& [at, label] : frame.branches) program_.code[at].target = position(label);
  for (const auto& [name, index] : frame.tables) {
    const auto it = f.branchTables.find(name);
    if (it == f.branchTables.end()) throw Error(Result::invalidPtx, "function " + std::string(f.name) + ": unknown branch targets " + std::string(name));
    for (std::string_view label : it->second) program_.branchTables[index].push_back(position(label));
  }
  frames_.pop_back();
}

void Decoder::instruction(const ptx::Instruction& i) {
  source_ = &i;
  const auto it = opcodes().find(i.opcode);
  if (it == opcodes().end()) refuse();
  Insn& in = program_.code.emplace_back();
  in.index = uint32_t(program_.code.size() - 1);
  in.source = sourceIndex(i.location);
  in.guardNegated = i.guardNegated;
  if (i.guard >= 0) {
    ptx::Operand p;
    p.kind = ptx::Operand::Kind::reg;
    p.reg = i.guard;
    in.guard = int32_t(registerOf(p));
  }
  std::string text;
  for (char c : i.text)
    if (!std::isspace(static_cast<unsigned char>(c))) text += c;
    else if (!text.empty() && text.back() != ' ') text += ' ';
  program_.text.push_back(std::move(text));
  modifiers_ = i.modifiers;
  const uint32_t index = in.index;
  it->second(*this);
  source_ = &i;
  if (!modifiers_.empty()) refuse("unknown modifier ." + std::string(modifiers_.front()));
  if (!program_.code[index].run && program_.code[index].flow == Flow::next && i.opcode != "call") refuse();
}

// ---- a kernel ----

void Decoder::run(const ptx::Function& entry) {
  kernel_.name = program_.kernel = std::string(entry.name);
  kernel_.maxThreads = entry.maxThreads;
  kernel_.minBlocks = entry.minBlocks;
  Frame frame;
  frame.function = &entry;
  for (const ptx::Variable& v : entry.params) {
    const uint32_t offset = roundUp(kernel_.paramBytes, v.alignment);
    kernel_.params.push_back({std::string(v.name), offset, v.bytes, v.alignment});
    kernel_.paramBytes = offset + v.bytes;
    frame.places[v.name] = {Space::param, offset};
  }
  program_.paramBytes = kernel_.paramBytes;
  layoutShared(entry);
  function(frame);
  source_ = nullptr;
  Insn& end = program_.code.emplace_back();  // what falls off the end returns
  end.index = uint32_t(program_.code.size() - 1);
  end.flow = Flow::exit;
  end.source = program_.code.size() > 1 ? program_.code[end.index - 1].source : sourceIndex({});
  program_.text.push_back("(end)");
  assignRegisters();
  fuseProducts(program_, uses_);
  kernel_.localBytes = program_.localBytes;
}

void Decoder::assignRegisters() {
  std::vector<uint32_t> place(registerBytes_.size());
  for (size_t r = 0; r < place.size(); ++r) {
    place[r] = program_.registerBytes;
    program_.registerBytes += registerBytes_[r] * kLanes;
  }
  for (const RegisterUse& u : uses_) program_.code[u.insn].operand[u.operand] = place[u.reg];
  for (const auto& [special, reg] : specials_) program_.specials.emplace_back(special, place[reg]);
}

}  // namespace lantern::simt
