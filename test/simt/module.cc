// Modules: the text parsed, variables placed in device memory, kernels decoded.
#include <cstring>

#include "decode.h"
#include "memory.h"

namespace lantern::simt {

std::unique_ptr<Module> Module::load(const std::string& text, Memory& memory) {
  const ptx::Module tree = ptx::parse(text);
  std::unique_ptr<Module> m(new Module());
  m->memory_ = &memory;
  for (const ptx::Variable& v : tree.globals) {
    if (v.isExtern) throw Error(Result::invalidPtx, "variable " + std::string(v.name) + " is defined in another module");
    Allocation& a = memory.state().add(std::max(v.bytes, 1u), std::string(v.name), true);
    std::memset(a.data.get(), 0, a.bytes);
    std::memcpy(a.data.get(), v.initial.data(), v.initial.size());
    a.written.setRange(0, a.bytes);
    m->variables_[std::string(v.name)] = {a.address, v.bytes};
  }
  for (const ptx::Variable& v : tree.globals)
    for (const auto& [offset, name] : v.references) {
      const auto it = m->variables_.find(std::string(name));
      if (it == m->variables_.end()) throw Error(Result::invalidPtx, "variable " + std::string(v.name) + " refers to unknown " + std::string(name));
      std::memcpy(&memory.state().find(m->variables_[std::string(v.name)].address)->data[offset], &it->second.address, 8);
    }
  for (const auto& [name, f] : tree.functions) {
    if (!f.isEntry) continue;
    auto program = std::make_shared<Program>();
    Kernel& kernel = m->kernels_[std::string(name)];
    Decoder(tree, m->variables_, *program, kernel).run(f);
    kernel.program = std::move(program);
  }
  return m;
}

Module::~Module() {
  for (const auto& [name, v] : variables_) memory_->state().remove(v.address);
}
std::vector<std::string> Module::kernelNames() const {
  std::vector<std::string> names;
  for (const auto& [name, k] : kernels_) names.push_back(name);
  return names;
}
const Kernel* Module::kernel(const std::string& name) const {
  const auto it = kernels_.find(name);
  return it == kernels_.end() ? nullptr : &it->second;
}
const Module::Variable* Module::variable(const std::string& name) const {
  const auto it = variables_.find(name);
  return it == variables_.end() ? nullptr : &it->second;
}

}  // namespace lantern::simt
