// Writes a header of random expressions of integers and floats, for nvcc and the host compiler alike: what the machine executes of the one
// must equal what the processor executes of the other. Nothing in them is undefined: signed numbers wrap as unsigned ones, shift counts and
// divisors are in range, floats are clamped before they become integers.
//   generateExpressions <seed> <count> > expressions.h
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

uint64_t state;
uint32_t below(uint32_t n) {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return uint32_t((z ^ (z >> 31)) % n);
}
std::string number(uint64_t x, const char* suffix) { return std::to_string(x) + suffix; }

enum Type { kU32, kS32, kU64, kS64, kF32, kF64, kTypes };
const char* const kNames[] = {"uint32_t", "int32_t", "uint64_t", "int64_t", "float", "double"};
bool isFloat(Type t) { return t >= kF32; }
bool isSigned(Type t) { return t == kS32 || t == kS64; }
Type unsignedOf(Type t) { return t == kS32 ? kU32 : t == kS64 ? kU64 : t; }
std::string cast(Type t, const std::string& e) { return std::string(kNames[t]) + "(" + e + ")"; }

std::string expression(Type t, int depth);

std::string leaf(Type t) {
  static const uint64_t corners[] = {0, 1, 2, 3, 7, 31, 127, 128, 255, 32767, 65535, 65536, 2147483647, 2147483648u, 4294967295u};
  if (isFloat(t)) {
    static const char* const floats[] = {"x", "y", "0.5f", "-1.25f", "3.f", "1e-3f", "65536.f"};
    static const char* const doubles[] = {"z", "double(x)", "0.1", "-2.75", "1e6"};
    return t == kF32 ? floats[below(7)] : doubles[below(5)];
  }
  static const char* const names[] = {"a", "b", "c"};
  return cast(t, below(4) ? names[below(3)] : number(corners[below(15)], "ull"));
}
std::string condition(int depth) {
  static const char* const relations[] = {"<", "<=", ">", ">=", "==", "!="};
  const Type t = Type(below(kTypes));
  return "(" + expression(t, depth) + " " + relations[below(6)] + " " + expression(t, depth) + ")";
}
std::string conversion(Type to, int depth) {
  const Type from = Type(below(kTypes));
  const std::string e = expression(from, depth);
  if (isFloat(from) && !isFloat(to)) return cast(to, std::string(isSigned(to) ? "clampSigned(" : "clampUnsigned(") + e + ")");
  static const char* const narrow[] = {"int8_t", "uint8_t", "int16_t", "uint16_t"};
  if (!isFloat(from) && below(4) == 0) return cast(to, std::string(narrow[below(4)]) + "(" + e + ")");
  return cast(to, e);
}
std::string integer(Type t, int depth) {
  const Type u = unsignedOf(t);
  const std::string a = expression(t, depth), b = expression(t, depth);
  const std::string bits = t == kU32 || t == kS32 ? "31" : "63";
  auto wrapping = [&](const char* op) { return cast(t, cast(u, a) + " " + op + " " + cast(u, b)); };
  switch (below(16)) {
    case 0: return wrapping("+");
    case 1: return wrapping("-");
    case 2: return wrapping("*");
    case 3: return wrapping("&");
    case 4: return wrapping("|");
    case 5: return wrapping("^");
    case 6: return cast(t, cast(u, a) + " << (" + cast(u, b) + " & " + bits + ")");
    case 7: return "(" + a + " >> (" + cast(u, b) + " & " + bits + "))";
    case 8: return isSigned(t) ? "divide(" + a + ", " + b + ")" : "(" + a + " / (" + b + " | 1))";
    case 9: return isSigned(t) ? "remain(" + a + ", " + b + ")" : "(" + a + " % (" + b + " | 1))";
    case 10: return cast(t, "~" + cast(u, a));
    case 11: return cast(t, "0 - " + cast(u, a));
    case 12: return "(" + a + " < " + b + " ? " + a + " : " + b + ")";  // min
    case 13: return cast(t, "rotate(" + cast(u, a) + ", " + cast(u, b) + ")");
    case 14: return cast(t, "ones(" + cast(u, a) + ") + zeros(" + cast(u, b) + ")");
    default: return cast(t, "high(" + a + ", " + b + ")");
  }
}
std::string floating(Type t, int depth) {
  const std::string a = expression(t, depth), b = expression(t, depth);
  const std::string f = t == kF32 ? "f" : "";
  switch (below(9)) {
    case 0: return "(" + a + " + " + b + ")";
    case 1: return "(" + a + " - " + b + ")";
    case 2: return "(" + a + " * " + b + ")";
    case 3: return "(" + a + " / " + b + ")";
    case 4: return "fma" + f + "(" + a + ", " + b + ", " + leaf(t) + ")";
    case 5: return "sqrt" + f + "(" + a + ")";
    case 6: return (below(2) ? "fmin" : "fmax") + f + "(" + a + ", " + b + ")";
    case 7: {
      static const char* const rounds[] = {"floor", "ceil", "trunc", "rint"};
      return rounds[below(4)] + f + "(" + a + ")";
    }
    default: return (below(2) ? "fabs" : "-fabs") + f + "(" + a + ")";
  }
}
std::string expression(Type t, int depth) {
  if (depth <= 0) return leaf(t);
  switch (below(8)) {
    case 0: return leaf(t);
    case 1: return conversion(t, depth - 1);
    case 2: return "(" + condition(depth - 1) + " ? " + expression(t, depth - 1) + " : " + expression(t, depth - 1) + ")";
    default: return isFloat(t) ? floating(t, depth - 1) : integer(t, depth - 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  state = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const int count = argc > 2 ? std::atoi(argv[2]) : 100;
  std::printf("constexpr int kExpressions = %d;\n", count);
  for (int i = 0; i < count; ++i) {
    const Type t = Type(i % kTypes);
    std::printf("HD %s e%d(uint32_t a, uint32_t b, uint64_t c, float x, float y, double z) { return %s; }\n", kNames[t], i, expression(t, 4).c_str());
  }
  std::printf("HD void evaluate(uint64_t* out, uint64_t stride, uint32_t a, uint32_t b, uint64_t c, float x, float y, double z) {\n");
  for (int i = 0; i < count; ++i) std::printf("  out[%d * stride] = bitsOf(e%d(a, b, c, x, y, z));\n", i, i);
  std::printf("}\n");
}
