// The characters and tokens of PTX text.
#pragma once
#include <algorithm>
#include <cctype>
#include <charconv>
#include <string>
#include <string_view>

#include "machine.h"

namespace lantern::simt::ptx {

inline bool isNameChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%'; }
inline bool isDigit(char c) { return c >= '0' && c <= '9'; }

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  void next() {
    if (text_[at_++] == '\n') ++line_;
  }
  void skip() {  // white space and comments
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(peek()))) {
        next();
      } else if (peek() == '/' && peek(1) == '/') {
        skipLine();
      } else if (peek() == '/' && peek(1) == '*') {
        while (at_ < text_.size() && !(peek() == '*' && peek(1) == '/')) next();
        at_ = std::min(at_ + 2, text_.size());
      } else {
        break;
      }
    }
  }
  void skipLine() {
    while (at_ < text_.size() && peek() != '\n') ++at_;
  }
  [[noreturn]] void fail(const std::string& what) const {
    std::string_view near = text_.substr(std::min(at_, text_.size()), 40);
    near = near.substr(0, near.find('\n'));
    throw Error(Result::invalidPtx, "PTX line " + std::to_string(line_) + ": " + what + ", near '" + std::string(near) + "'");
  }
  bool sees(char c) {
    skip();
    return peek() == c;
  }
  bool eat(char c) {
    if (!sees(c)) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!eat(c)) fail(std::string("expected '") + c + "'");
  }
  std::string_view name() {
    skip();
    const size_t from = at_;
    while (isNameChar(peek())) ++at_;
    if (at_ == from) fail("expected a name");
    return text_.substr(from, at_ - from);
  }
  // A directive or an opcode: names joined by '.' and '::'.
  std::string_view dotted() {
    skip();
    const size_t from = at_;
    for (;;) {
      if (isNameChar(peek()) || peek() == '.') ++at_;
      else if (peek() == ':' && peek(1) == ':') at_ += 2;
      else break;
    }
    return text_.substr(from, at_ - from);
  }
  uint64_t hex(int digits) {
    uint64_t value = 0;
    const char* from = text_.data() + at_;
    const auto [end, error] = std::from_chars(from, text_.data() + std::min(text_.size(), at_ + size_t(digits)), value, 16);
    if (error != std::errc() || end != from + digits) fail("bad hexadecimal number");
    at_ += size_t(digits);
    return value;
  }
  // An integer, or the bits of 0fXXXXXXXX and 0dXXXXXXXXXXXXXXXX; sets bits to 32 or 64 for those.
  uint64_t number(int* floatBits = nullptr) {
    skip();
    bool negative = false;
    if (peek() == '-') negative = true, ++at_;
    const char kind = char(peek(1) | 32);
    if (peek() == '0' && (kind == 'f' || kind == 'd')) {
      at_ += 2;
      const int bits = kind == 'f' ? 32 : 64;
      const uint64_t value = hex(bits / 4);
      if (!floatBits || negative) fail("a floating-point number does not belong here");
      *floatBits = bits;
      return value;
    }
    int base = 10;
    if (peek() == '0' && kind == 'x') base = 16, at_ += 2;
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value, base);
    if (error != std::errc()) fail("expected a number");
    at_ = size_t(end - text_.data());
    if (peek() == 'U') ++at_;
    return negative ? 0 - value : value;
  }

 protected:
  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace lantern::simt::ptx
