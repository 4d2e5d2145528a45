// Errors are values: every kernel and runtime call that can fail returns a Status; the addon turns it into a typed JavaScript error.
#pragma once
#include <string>
#include <utility>

namespace lantern {

enum class Code {
  ok,
  invalidArgument,
  outOfRange,
  outOfMemory,
  io,
  device,      // a driver refused or failed; the device goes on
  deviceLost,  // the device can do no more
};

struct [[nodiscard]] Status {
  Code code = Code::ok;
  std::string message;

  bool ok() const { return code == Code::ok; }
  static Status fine() { return {}; }
  static Status error(Code code, std::string message) { return {code, std::move(message)}; }
};

}  // namespace lantern
