// The PTX parser: one pass of recursive descent over the text.
#include "ptx.h"

#include <algorithm>

#include "ptxReader.h"

namespace lantern::simt::ptx {

uint32_t bytesOfType(std::string_view type) {
  if (type == "pred") return 1;
  if (type == "bf16") return 2;
  if (type.ends_with("x2")) return 4;
  uint32_t bits = 0;
  for (char c : type)
    if (std::isdigit(static_cast<unsigned char>(c))) bits = bits * 10 + uint32_t(c - '0');
  return bits / 8;
}

namespace {

class Parser : private Reader {
 public:
  explicit Parser(std::string_view text) : Reader(text) {}

  Module module() {
    for (skip(); at_ < text_.size(); skip()) moduleItem();
    return std::move(module_);
  }

 private:
  // ---- registers ----
  struct Family {  // .reg .b32 %r<10> declares %r0 .. %r9
    int first, count;
  };
  struct Scope {
    std::unordered_map<std::string_view, int> single;
    std::unordered_map<std::string_view, Family> families;
  };
  int registerNamed(std::string_view n) const {
    size_t digits = n.size();
    while (digits > 0 && isDigit(n[digits - 1])) --digits;
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (auto it = scope->single.find(n); it != scope->single.end()) return it->second;
      if (digits == n.size()) continue;
      const auto it = scope->families.find(n.substr(0, digits));
      if (it == scope->families.end()) continue;
      int index = 0;
      std::from_chars(n.data() + digits, n.data() + n.size(), index);
      if (index < it->second.count) return it->second.first + index;
    }
    return -1;
  }
  void declareRegisters() {
    const std::string_view type = dotted().substr(1);
    do {
      const std::string_view n = name();
      const int first = int(function_->registerTypes.size());
      int count = 1;
      if (eat('<')) {
        count = int(number());
        need('>');
        scopes_.back().families[n] = {first, count};
      } else {
        scopes_.back().single[n] = first;
      }
      function_->registerTypes.resize(size_t(first + count), type);
    } while (eat(','));
    need(';');
  }

  // ---- operands ----
  Operand address() {
    Operand o = operand();
    if (o.kind != Operand::Kind::reg && o.kind != Operand::Kind::symbol && o.kind != Operand::Kind::immediate) fail("expected an address");
    o.kind = Operand::Kind::address;
    if (eat('+')) o.value += number();
    while (eat(',')) o.parts.push_back(operand());
    need(']');
    return o;
  }
  Operand list(char end) {
    Operand o;
    o.kind = Operand::Kind::vector;
    if (eat(end)) return o;
    do o.parts.push_back(operand());
    while (eat(','));
    need(end);
    return o;
  }
  Operand operand() {
    skip();
    if (eat('{')) return list('}');
    if (eat('(')) return list(')');
    if (eat('[')) return address();
    Operand o;
    if (eat('!')) {
      o = operand();
      o.negated = true;
      return o;
    }
    if (isDigit(peek()) || peek() == '-') {
      o.kind = Operand::Kind::immediate;
      int floatBits = 0;
      o.value = number(&floatBits);
      o.floating = floatBits != 0;
      if (floatBits) o.bits = floatBits;
      return o;
    }
    std::string_view n = name();
    if (n == "_") return o;
    if ((o.reg = registerNamed(n)) >= 0) {
      o.kind = Operand::Kind::reg;
    } else if (n[0] == '%') {
      if (peek() == '.') n = {n.data(), n.size() + dotted().size()};
      o.kind = Operand::Kind::special;
    } else {
      o.kind = Operand::Kind::symbol;
      if (eat('+')) o.value = number();
    }
    o.name = n;
    if (!sees('|')) return o;
    ++at_;
    Operand pair;
    pair.kind = Operand::Kind::vector;
    pair.parts.push_back(std::move(o));
    pair.parts.push_back(operand());
    return pair;
  }

  // ---- variables ----
  // What follows the state space: alignment, vector, type, name, extents, initial value.
  Variable variable(std::string_view directives = {}) {
    Variable v;
    std::string_view type;
    uint32_t count = 1;
    auto directive = [&](std::string_view d) {
      if (d == ".align") v.alignment = std::max(v.alignment, uint32_t(number()));
      else if (d == ".v2") count *= 2;
      else if (d == ".v4") count *= 4;
      else if (d == ".ptr" || d == ".global" || d == ".shared" || d == ".const" || d == ".local") return;  // attributes of a pointer
      else type = d.substr(1);
    };
    while (!directives.empty()) {  // ".b32" glued to the state space, as in ".param.b32"
      const size_t end = std::min(directives.find('.', 1), directives.size());
      directive(directives.substr(0, end));
      directives.remove_prefix(end);
    }
    while (sees('.')) directive(dotted());
    if (type.empty()) fail("expected a type");
    v.alignment = std::max(v.alignment, bytesOfType(type) * count);
    v.name = name();
    while (eat('[')) {
      count *= sees(']') ? 0 : uint32_t(number());
      need(']');
    }
    v.bytes = count * bytesOfType(type);
    if (eat('=')) initialValue(v, bytesOfType(type));
    return v;
  }
  void initialValue(Variable& v, uint32_t elementBytes) {
    auto value = [&] {
      skip();
      if (!isDigit(peek()) && peek() != '-') {
        std::string_view n = name();
        if (n == "generic") {
          need('(');
          n = name();
          need(')');
        }
        v.references.emplace_back(uint32_t(v.initial.size()), n);
        v.initial.resize(v.initial.size() + elementBytes);
        return;
      }
      int floatBits = 0;
      const uint64_t x = number(&floatBits);
      for (uint32_t i = 0; i < elementBytes; ++i) v.initial.push_back(uint8_t(x >> (8 * i)));
    };
    if (!eat('{')) return value();
    if (eat('}')) return;
    do value();
    while (eat(','));
    need('}');
  }
  std::vector<Variable> params() {
    std::vector<Variable> list;
    if (!eat('(') || eat(')')) return list;
    do {
      const std::string_view d = dotted();
      if (!d.starts_with(".param")) fail("only parameters in .param space are known");
      list.push_back(variable(d.substr(6)));
    } while (eat(','));
    need(')');
    return list;
  }

  // ---- functions ----
  void function(bool isEntry) {
    Function f;
    f.isEntry = isEntry;
    std::vector<Variable> results;
    if (!isEntry && sees('(')) results = params();
    f.name = name();
    f.params = params();
    f.results = std::move(results);
    while (sees('.')) functionDirective(f);
    function_ = &(module_.functions[f.name] = std::move(f));
    if (!eat(';')) body();
    function_ = nullptr;
  }
  void functionDirective(Function& f) {
    const std::string_view d = dotted();
    if (d == ".noreturn") return;
    uint32_t product = 1;
    if (d == ".pragma") return void(text_.find(';', at_) == std::string_view::npos ? fail("unterminated .pragma") : statementEnd());
    do product *= uint32_t(number());
    while (eat(','));
    if (d == ".maxntid" || d == ".reqntid") f.maxThreads = product;
    else if (d == ".minnctapersm") f.minBlocks = product;
    else if (d != ".maxnreg") fail("unknown directive " + std::string(d));
  }
  void statementEnd() {
    while (at_ < text_.size() && peek() != ';') next();
    need(';');
  }
  void body() {
    need('{');
    function_->isDefined = true;
    location_ = {};
    scopes_.assign(1, {});
    while (!scopes_.empty()) {
      skip();
      if (at_ >= text_.size()) fail("a function does not end");
      if (eat('{')) scopes_.emplace_back();
      else if (eat('}')) scopes_.pop_back();
      else if (peek() == '.') bodyDirective();
      else if (!label()) instruction();
    }
  }
  void bodyDirective() {
    const std::string_view d = dotted();
    if (d == ".loc") return loc();
    if (d == ".pragma") return statementEnd();
    if (d == ".reg") return declareRegisters();
    std::vector<Variable>* space = d.starts_with(".param") ? &function_->callParams
                                   : d == ".shared"        ? &function_->shared
                                   : d == ".local"         ? &function_->local
                                                           : nullptr;
    if (!space) fail("unknown directive " + std::string(d));
    space->push_back(variable(space == &function_->callParams ? d.substr(6) : std::string_view()));
    need(';');
  }
  // file line column[, function_name label[+offset], inlined_at file line column]
  void loc() {
    location_ = {};
    location_.file = int(number());
    location_.line = int(number());
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    const size_t inlined = text_.substr(at_, end - at_).find("inlined_at");
    if (inlined != std::string_view::npos) {
      at_ += inlined + 10;
      location_.inlinedFile = int(number());
      location_.inlinedLine = int(number());
    }
    skipLine();
  }
  bool label() {
    size_t end = at_;
    while (end < text_.size() && isNameChar(text_[end])) ++end;
    size_t colon = end;
    while (colon < text_.size() && std::isspace(static_cast<unsigned char>(text_[colon]))) ++colon;
    if (end == at_ || colon >= text_.size() || text_[colon] != ':' || text_.substr(colon, 2) == "::") return false;
    const std::string_view n = text_.substr(at_, end - at_);
    at_ = colon + 1;
    if (!sees('.')) {
      function_->labels[n] = uint32_t(function_->code.size());
      return true;
    }
    const size_t before = at_;
    const std::string_view d = dotted();
    if (d == ".branchtargets") {
      std::vector<std::string_view>& targets = function_->branchTables[n];
      do targets.push_back(name());
      while (eat(','));
      need(';');
    } else if (d == ".callprototype" || d == ".calltargets") {
      fail("calls through pointers are not known");
    } else {
      at_ = before;
      function_->labels[n] = uint32_t(function_->code.size());
    }
    return true;
  }
  void instruction() {
    Instruction i;
    const size_t from = at_;
    i.textLine = line_;
    i.location = location_;
    if (eat('@')) {
      i.guardNegated = eat('!');
      const std::string_view n = name();
      if ((i.guard = registerNamed(n)) < 0) fail("unknown predicate " + std::string(n));
    }
    std::string_view whole = dotted();
    if (whole.empty()) fail("expected an instruction");
    for (bool first = true; !whole.empty(); first = false) {
      const size_t dot = std::min(whole.find('.'), whole.size());
      if (first) i.opcode = whole.substr(0, dot);
      else i.modifiers.push_back(whole.substr(0, dot));
      whole.remove_prefix(std::min(dot + 1, whole.size()));
    }
    if (!sees(';')) {
      do i.operands.push_back(operand());
      while (eat(','));
    }
    need(';');
    i.text = text_.substr(from, at_ - from);
    function_->code.push_back(std::move(i));
  }

  // ---- module ----
  void moduleItem() {
    if (peek() != '.') fail("expected a directive");
    std::string_view d = dotted();
    bool isExtern = false;
    while (d == ".visible" || d == ".weak" || d == ".extern" || d == ".common") {
      isExtern |= d == ".extern";
      d = dotted();
    }
    if (d == ".version" || d == ".target") {
      skip();
      const size_t from = at_;
      skipLine();
      (d == ".version" ? module_.version : module_.target) = text_.substr(from, at_ - from);
    } else if (d == ".address_size" || d == ".loc") {
      skipLine();
    } else if (d == ".file") {
      const int index = int(number());
      need('"');
      const size_t end = text_.find('"', at_);
      if (end == std::string_view::npos) fail("unterminated file name");
      module_.files[index] = std::string(text_.substr(at_, end - at_));
      skipLine();
    } else if (d == ".section") {  // debugging information
      while (at_ < text_.size() && peek() != '}') next();
      need('}');
    } else if (d == ".shared" || d == ".global" || d == ".const") {
      Variable v = variable();
      need(';');
      v.isExtern = isExtern;
      v.isConstant = d == ".const";
      (d == ".shared" ? module_.shared : module_.globals).push_back(std::move(v));
    } else if (d == ".entry" || d == ".func") {
      function(d == ".entry");
    } else {
      fail("unknown directive " + std::string(d));
    }
  }

  Location location_;
  Module module_;
  Function* function_ = nullptr;
  std::vector<Scope> scopes_;
};

}  // namespace

Module parse(std::string_view text) { return Parser(text).module(); }

}  // namespace lantern::simt::ptx
