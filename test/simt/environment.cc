#include "environment.h"

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace lantern::simt {

namespace {

[[noreturn]] void refuse(const std::string& variable, const std::string& value, const std::string& known) {
  throw std::invalid_argument("LANTERN_SIMT_" + variable + "=" + value + ": expected " + known);
}

std::string valueOf(const char* variable) {
  const char* value = std::getenv((std::string("LANTERN_SIMT_") + variable).c_str());
  return value ? value : "";
}

void eachItem(const std::string& list, const std::function<void(const std::string&)>& f) {
  std::istringstream items(list);
  for (std::string item; std::getline(items, item, ',');)
    if (!item.empty()) f(item);
}

uint64_t number(const std::string& variable, const std::string& text) {
  size_t used = 0;
  uint64_t value = 0;
  try {
    value = std::stoull(text, &used);
  } catch (const std::exception&) {
  }
  if (used == 0 || used != text.size()) refuse(variable, text, "a number");
  return value;
}

void readNumber(const char* variable, auto& value) {
  if (const std::string text = valueOf(variable); !text.empty()) value = number(variable, text);
}

// 512M, 8G, or plain bytes.
uint64_t bytes(const std::string& variable, std::string text) {
  int shift = 0;
  if (!text.empty()) switch (text.back()) {
      case 'K': shift = 10; break;
      case 'M': shift = 20; break;
      case 'G': shift = 30; break;
    }
  if (shift) text.pop_back();
  return number(variable, text) << shift;
}

void readSchedule(Environment& e) {
  readNumber("SEED", e.seed);
  const bool seeded = !valueOf("SEED").empty();
  e.options.schedule = seeded ? Schedule::random : Schedule::forward;
  e.order = seeded ? Order::random : Order::late;
  eachItem(valueOf("SCHEDULE"), [&](const std::string& item) {
    if (item == "forward") e.options.schedule = Schedule::forward;
    else if (item == "reverse") e.options.schedule = Schedule::reverse;
    else if (item == "random") e.options.schedule = Schedule::random;
    else refuse("SCHEDULE", item, "forward, reverse or random");
  });
  eachItem(valueOf("STREAMS"), [&](const std::string& item) {
    if (item == "late") e.order = Order::late;
    else if (item == "random") e.order = Order::random;
    else if (item == "eager") e.order = Order::eager;
    else refuse("STREAMS", item, "late, random or eager");
  });
}

void readChecks(Environment& e) {
  eachItem(valueOf("NUMERICS"), [&](const std::string& item) {
    if (item == "contract") e.options.contract = true;
    else if (item == "noise") e.options.approxNoise = true;
    else if (item == "truncate") e.options.truncateSums = true;
    else if (item != "plain") refuse("NUMERICS", item, "plain, or a list of contract, noise, truncate");
  });
  if (const std::string list = valueOf("CHECKS"); !list.empty()) {
    e.options.checkRaces = e.options.checkInitialised = e.options.count = false;
    eachItem(list, [&](const std::string& item) {
      if (item == "all") e.options.checkRaces = e.options.checkInitialised = e.options.count = e.leaksAreFindings = true;
      else if (item == "races") e.options.checkRaces = true;
      else if (item == "initialised") e.options.checkInitialised = true;
      else if (item == "count") e.options.count = true;
      else if (item == "leaks") e.leaksAreFindings = true;
      else if (item != "none") refuse("CHECKS", item, "all, none, or a list of races, initialised, count, leaks");
    });
  }
  if (const std::string findings = valueOf("FINDINGS"); !findings.empty()) {
    if (findings != "fail" && findings != "record") refuse("FINDINGS", findings, "fail or record");
    e.failOnFindings = findings == "fail";
  }
  readNumber("BUDGET", e.options.maxInstructions);
}

void readFaults(Environment& e) {
  Faults& f = e.faults;
  eachItem(valueOf("FAULT"), [&](const std::string& item) {
    const size_t equals = item.find('=');
    const std::string name = item.substr(0, equals), value = equals == std::string::npos ? "" : item.substr(equals + 1);
    const auto nth = [&] {
      const size_t end = value.find_first_of("+-");
      const uint64_t first = number("FAULT", value.substr(0, end));
      if (end == std::string::npos) return Nth{first, first};
      if (value[end] == '+' && end + 1 == value.size()) return Nth{first, UINT64_MAX};
      return Nth{first, number("FAULT", value.substr(end + 1))};
    };
    if (name == "allocation") f.allocation = nth();
    else if (name == "hostAllocation") f.hostAllocation = nth();
    else if (name == "launch") f.launch = nth();
    else if (name == "execution") f.execution = nth();
    else if (name == "lose") f.lose = number("FAULT", value);
    else if (name == "hide") f.hidden.insert(value);
    else if (name == "driver") e.driverVersion = int(number("FAULT", value));
    else if (name == "noPools") e.memoryPools = false;
    else refuse("FAULT", item, "a list of allocation=, hostAllocation=, launch=, execution=, lose=, hide=, driver=, noPools");
  });
}

void readReplacements(Environment& e) {
  eachItem(valueOf("REPLACE"), [&](const std::string& item) {
    const size_t equals = item.find('=');
    if (equals == 0 || equals == std::string::npos) refuse("REPLACE", item, "a list of module=file of PTX text");
    std::ifstream file(item.substr(equals + 1), std::ios::binary);
    if (!file) refuse("REPLACE", item, "a file that can be read");
    e.replacements[item.substr(0, equals)] = {std::istreambuf_iterator<char>(file), {}};
  });
}

}  // namespace

Environment Environment::read() {
  Environment e;
  readSchedule(e);
  readChecks(e);
  readFaults(e);
  readReplacements(e);
  readNumber("DEVICES", e.devices);
  readNumber("CAPABILITY", e.capability);
  if (const std::string memory = valueOf("MEMORY"); !memory.empty()) e.memory = bytes("MEMORY", memory);
  if (const std::string log = valueOf("LOG"); !log.empty()) {
    if (log != "none" && log != "errors" && log != "calls") refuse("LOG", log, "none, errors or calls");
    e.logErrors = log != "none";
    e.logCalls = log == "calls";
  }
  e.report = valueOf("REPORT");
  e.options.seed = e.options.noiseSeed = e.seed;
  return e;
}

}  // namespace lantern::simt
