#include "report.h"

#include <algorithm>
#include <cstdio>

#include "program.h"

namespace lantern::simt {

namespace {

constexpr const char* kClassNames[] = {"integer", "float32", "float64", "half",   "conversion", "special",
                                       "memory",  "shared",  "warp",    "matrix", "control"};
static_assert(std::size(kClassNames) == kInstructionClasses);

double ratio(uint64_t a, uint64_t ideal) { return ideal ? double(a) / double(ideal) : 1; }

// Enough of a JSON writer: values in the order they are given, commas where they belong.
class Json {
 public:
  void open(char bracket) { before(), text_ += bracket, first_ = true; }
  void close(char bracket) { text_ += bracket, first_ = false; }
  void key(const std::string& k) { before(), quote(k), text_ += ':', first_ = true; }
  void value(const std::string& s) { before(), quote(s); }
  void value(uint64_t n) { before(), text_ += std::to_string(n); }
  void value(double x) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.6g", x);
    before(), text_ += digits;
  }
  template <class T>
  void field(const char* k, const T& v) {
    key(k);
    if constexpr (std::is_integral_v<T>) value(uint64_t(v));
    else value(v);
  }
  std::string text_;

 private:
  void before() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  void quote(const std::string& s) {
    text_ += '"';
    for (const char c : s) {
      if (c == '"' || c == '\\') text_ += '\\', text_ += c;
      else if (static_cast<unsigned char>(c) < 0x20) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", c);
        text_ += code;
      } else
        text_ += c;
    }
    text_ += '"';
  }
  bool first_ = true;
};

void write(Json& j, const Counters& c) {
  j.field("issues", c.issues);
  j.field("lanes", c.lanes);
  j.field("bytesRead", c.bytesRead);
  j.field("bytesWritten", c.bytesWritten);
  j.field("sectors", c.sectors);
  j.field("idealSectors", c.idealSectors);
  j.field("wavefronts", c.wavefronts);
  j.field("idealWavefronts", c.idealWavefronts);
  j.field("divergent", c.divergent);
}

void write(Json& j, const char* key, uint32_t x, uint32_t y, uint32_t z) {
  j.key(key);
  j.open('[');
  for (const uint32_t n : {x, y, z}) j.value(uint64_t(n));
  j.close(']');
}

}  // namespace

void Reports::Sum::add(const Report& r) {
  ++launches;
  counters += r.total;
  barriers += r.barriers;
  multiplyAdds += r.multiplyAdds;
  for (const Footprint& f : r.footprint) footprintRead += f.bytesRead, footprintWritten += f.bytesWritten;
  for (int i = 0; i < kInstructionClasses; ++i) issuesByClass[i] += r.issuesByClass[i];
  worstSectors = std::max(worstSectors, ratio(r.total.sectors, r.total.idealSectors));
  worstWavefronts = std::max(worstWavefronts, ratio(r.total.wavefronts, r.total.idealWavefronts));
}

void Reports::loaded(const Fatbin& fatbin, const Module& module) {
  std::lock_guard lock(mutex_);
  const std::vector<std::string> names = module.kernelNames();
  OfModule& m = modules_[names.empty() ? "" : names.front()];
  ++m.loads;
  m.kernels = names;
  m.ptxArchitecture = fatbin.ptxArchitecture;
  m.architectures.clear();
  for (const Cubin& c : fatbin.cubins) m.architectures.push_back(c.architecture);
  for (const std::string& name : names) {
    OfKernel& k = kernels_[name];
    k.maxThreads = module.kernel(name)->maxThreads;
    k.localBytes = module.kernel(name)->localBytes;
    for (const Cubin& c : fatbin.cubins)
      if (const auto found = c.kernels.find(name); found != c.kernels.end()) k.resources[c.architecture] = found->second;
  }
}

std::map<std::pair<std::string, uint32_t>, Counters> Reports::OfKernel::allLines() const {
  auto all = lines;
  for (size_t i = 0; i < counters.size(); ++i) {
    if (!counters[i].issues) continue;
    const Source& at = program->sources[program->code[i].source];
    all[{at.file, at.line}] += counters[i];
  }
  return all;
}

void Reports::launched(const Report& r) {
  std::lock_guard lock(mutex_);
  OfKernel& k = kernels_[r.kernel];
  k.total.add(r);
  k.shapes[{r.grid.x, r.grid.y, r.grid.z, r.block.x, r.block.y, r.block.z, r.dynamicShared}].add(r);
  if (k.program != r.program) {
    k.lines = k.allLines();
    k.program = r.program;
    k.counters.assign(r.counters.size(), {});
  }
  for (size_t i = 0; i < r.counters.size(); ++i)
    if (r.counters[i].issues) k.counters[i] += r.counters[i];
  for (const Finding& f : r.findings) {
    Finding& sum = k.findings[{f.kind, f.source.file, f.source.line}];
    const uint64_t count = sum.count + f.count;
    if (!sum.count) sum = f;
    sum.count = count;
  }
}

void Reports::called(const char* entry) {
  std::lock_guard lock(mutex_);
  ++calls_[entry];
}

void Reports::found(const std::string& kind, const std::string& what) {
  std::lock_guard lock(mutex_);
  ++findings_[{kind, what}];
}

void Reports::failed(const std::string& what) {
  std::lock_guard lock(mutex_);
  errors_.push_back(what);
}

void Reports::note(const std::string& name, const std::string& value) {
  std::lock_guard lock(mutex_);
  notes_[name] = value;
}

void Reports::alive(const std::string& what) {
  std::lock_guard lock(mutex_);
  alive_.push_back(what);
}

uint64_t Reports::findings() const {
  std::lock_guard lock(mutex_);
  uint64_t count = findings_.size();
  for (const auto& [name, k] : kernels_) count += k.findings.size();
  return count;
}

void Reports::clear() {
  std::lock_guard lock(mutex_);
  for (auto& [name, k] : kernels_) k.total = {}, k.shapes.clear(), k.lines.clear(), k.program.reset(), k.counters.clear(), k.findings.clear();
  calls_.clear(), findings_.clear(), alive_.clear(), errors_.clear();
}

// ---- writing ----

class ReportWriter {
 public:
  explicit ReportWriter(const Reports& r) : r_(r) {}

  std::string json() {
    j.open('{');
    j.key("settings");
    j.open('{');
    for (const auto& [name, value] : r_.notes_) j.field(name.c_str(), value);
    j.close('}');
    j.key("calls");
    j.open('{');
    for (const auto& [entry, count] : r_.calls_) j.field(entry.c_str(), count);
    j.close('}');
    modules();
    j.key("kernels");
    j.open('{');
    for (const auto& [name, k] : r_.kernels_) kernel(name, k);
    j.close('}');
    j.key("findings");
    j.open('[');
    for (const auto& [finding, count] : r_.findings_) {
      j.open('{');
      j.field("kind", finding.first), j.field("what", finding.second), j.field("count", count);
      j.close('}');
    }
    j.close(']');
    list("errors", r_.errors_);
    list("alive", r_.alive_);
    j.close('}');
    return std::move(j.text_) + "\n";
  }

 private:
  void list(const char* key, const std::vector<std::string>& values) {
    j.key(key);
    j.open('[');
    for (const std::string& value : values) j.value(value);
    j.close(']');
  }

  void modules() {
    j.key("modules");
    j.open('[');
    for (const auto& [first, m] : r_.modules_) {
      j.open('{');
      list("kernels", m.kernels);
      j.field("ptxArchitecture", m.ptxArchitecture);
      j.key("architectures");
      j.open('[');
      for (const int a : m.architectures) j.value(uint64_t(a));
      j.close(']');
      j.field("loads", m.loads);
      j.close('}');
    }
    j.close(']');
  }

  void sum(const Reports::Sum& s) {
    j.field("launches", s.launches);
    write(j, s.counters);
    j.field("worstSectors", s.worstSectors);
    j.field("worstWavefronts", s.worstWavefronts);
    j.field("footprintRead", s.footprintRead);
    j.field("footprintWritten", s.footprintWritten);
    j.field("barriers", s.barriers);
    j.field("multiplyAdds", s.multiplyAdds);
    j.key("issuesByClass");
    j.open('{');
    for (int i = 0; i < kInstructionClasses; ++i) j.field(kClassNames[i], s.issuesByClass[i]);
    j.close('}');
  }

  void kernel(const std::string& name, const Reports::OfKernel& k) {
    j.key(name);
    j.open('{');
    sum(k.total);
    j.field("maxThreads", k.maxThreads);
    j.field("localBytes", k.localBytes);
    j.key("resources");
    j.open('{');
    for (const auto& [architecture, resources] : k.resources) {
      j.key("sm_" + std::to_string(architecture));
      j.open('{');
      j.field("registers", resources.registers);
      j.field("staticShared", resources.staticShared);
      j.field("stackBytes", resources.stackBytes);
      j.close('}');
    }
    j.close('}');
    j.key("shapes");
    j.open('[');
    for (const auto& [s, of] : k.shapes) shape(s, of, k);
    j.close(']');
    j.key("lines");
    j.open('[');
    for (const auto& [at, counters] : k.allLines()) {
      j.open('{');
      j.field("file", at.first), j.field("line", at.second);
      write(j, counters);
      j.close('}');
    }
    j.close(']');
    j.key("findings");
    j.open('[');
    for (const auto& [at, f] : k.findings) {
      j.open('{');
      j.field("kind", f.kind), j.field("what", f.what), j.field("file", f.source.file), j.field("line", f.source.line);
      j.field("count", f.count);
      j.close('}');
    }
    j.close(']');
    j.close('}');
  }

  void shape(const Reports::Shape& s, const Reports::Sum& of, const Reports::OfKernel& k) {
    const auto [gx, gy, gz, bx, by, bz, dynamicShared] = s;
    j.open('{');
    write(j, "grid", gx, gy, gz);
    write(j, "block", bx, by, bz);
    j.field("dynamicShared", dynamicShared);
    sum(of);
    j.key("occupancy");
    j.open('{');
    for (const auto& [architecture, resources] : k.resources)
      if (const Gpu* gpu = gpuOf(architecture)) {
        const Occupancy o = occupancy(*gpu, resources, int(bx * by * bz), int(dynamicShared));
        j.key("sm_" + std::to_string(architecture));
        j.open('{');
        j.field("blocks", o.blocks), j.field("threads", o.threads);
        j.close('}');
      }
    j.close('}');
    j.close('}');
  }

  const Reports& r_;
  Json j;
};

std::string Reports::json() const {
  std::lock_guard lock(mutex_);
  return ReportWriter(*this).json();
}

std::string Reports::table() const {
  std::lock_guard lock(mutex_);
  std::vector<std::vector<std::string>> rows = {{"kernel", "launches", "asked MB", "footprint MB", "sectors/ideal", "wavefronts/ideal", "lane use",
                                                 "mma GFLOP", "registers", "stack", "findings"}};
  const auto number = [](double x, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", digits, x);
    return std::string(text);
  };
  const auto most = [](const OfKernel& k, uint32_t Resources::*member) {
    uint32_t worst = 0;
    for (const auto& [architecture, resources] : k.resources) worst = std::max(worst, resources.*member);
    return k.resources.empty() ? std::string("?") : std::to_string(worst);
  };
  for (const auto& [name, k] : kernels_) {
    const Sum& s = k.total;
    uint64_t found = 0;
    for (const auto& [at, f] : k.findings) found += f.count;
    rows.push_back({name, std::to_string(s.launches), number(double(s.counters.bytesRead + s.counters.bytesWritten) / 1e6, 3),
                    number(double(s.footprintRead + s.footprintWritten) / 1e6, 3), number(ratio(s.counters.sectors, s.counters.idealSectors), 3),
                    number(ratio(s.counters.wavefronts, s.counters.idealWavefronts), 3),
                    number(s.counters.issues ? double(s.counters.lanes) / 32 / double(s.counters.issues) : 1, 2), number(double(s.multiplyAdds) * 2e-9, 3),
                    most(k, &Resources::registers), most(k, &Resources::stackBytes), std::to_string(found)});
  }
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      text += i == 0 ? row[i] + pad : "  " + pad + row[i];
    }
    text += '\n';
  }
  for (const auto& [name, k] : kernels_)
    for (const auto& [at, f] : k.findings) text += "finding: " + f.kind + " (" + std::to_string(f.count) + "): " + f.what + "\n";
  for (const auto& [finding, count] : findings_)
    text += "finding: " + finding.first + " (" + std::to_string(count) + "): " + finding.second + "\n";
  for (const std::string& what : errors_) text += "error: " + what + "\n";
  for (const std::string& what : alive_) text += "never freed: " + what + "\n";
  return text;
}

}  // namespace lantern::simt
