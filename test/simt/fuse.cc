// Contraction. Where neither a product nor the sum it feeds states a rounding mode, ptxas may make one fma of the two; which it does is its own
// affair. Program::contracted is the kernel with every such pair fused that lies in one basic block. The product itself is still computed,
// since others may need it.
#include <unordered_map>

#include "floats.h"

namespace lantern::simt {

namespace {

// Where control flow may enter: products before such a place are forgotten.
std::vector<bool> entries(const Program& p) {
  std::vector<bool> entry(p.code.size() + 1);
  for (const Insn& i : p.code) {
    if (i.flow == Flow::branch) entry[i.target] = true;
    if (i.flow != Flow::next) entry[i.index + 1] = true;
  }
  for (const auto& table : p.branchTables)
    for (uint32_t target : table) entry[target] = true;
  return entry;
}

}  // namespace

void fuseProducts(Program& p, const std::vector<RegisterUse>& uses) {
  std::vector<std::vector<uint32_t>> defined(p.code.size());  // places that each instruction writes
  for (const RegisterUse& u : uses)
    if (u.defines) defined[u.insn].push_back(p.code[u.insn].operand[u.operand]);
  const std::vector<bool> entry = entries(p);
  std::vector<Insn> code = p.code;
  std::unordered_map<uint32_t, uint32_t> products;  // place of a product -> the instruction, while its operands still hold
  bool any = false;
  for (Insn& i : code) {
    if (entry[i.index]) products.clear();
    const bool isSum = i.fusable == Fusable::sum, isDifference = i.fusable == Fusable::difference;
    for (int side = 1; side <= 2 && (isSum || isDifference); ++side) {
      const auto it = products.find(i.operand[side]);
      if (it == products.end()) continue;
      const Insn& product = p.code[it->second];
      const bool ftz = i.mode & 1, sat = i.mode & 2;
      if (bool(product.mode & 1) != ftz) continue;
      i.operand[3] = i.operand[3 - side];
      i.operand[1] = product.operand[1];
      i.operand[2] = product.operand[2];
      i.run = fusedHandler(ftz, sat, isDifference && side == 2, isDifference && side == 1);
      any = true;
      break;
    }
    for (uint32_t place : defined[i.index])
      std::erase_if(products, [&](const auto& x) {
        const Insn& product = p.code[x.second];
        return x.first == place || product.operand[1] == place || product.operand[2] == place;
      });
    const bool overwritesItself = i.operand[0] == i.operand[1] || i.operand[0] == i.operand[2];
    if (i.fusable == Fusable::product && i.guard < 0 && !(i.mode & 2) && !overwritesItself) products[i.operand[0]] = i.index;
  }
  if (any) p.contracted = std::move(code);
}

}  // namespace lantern::simt
