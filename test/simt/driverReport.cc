// When the report is written: at exit, when the process is told to end (a test runner does so with its workers), when a primary context ends,
// and when a C++ test asks for it. What findings do to the exit code.
#include <semaphore.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "driver.h"

namespace lantern::simt::driver {

namespace {

constexpr int kFindingsExitCode = 66;
sem_t told;  // to end

void writeFile(const std::string& path, const std::string& text) {
  if (std::FILE* f = std::fopen(path.c_str(), "w")) {
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
  } else
    std::fprintf(stderr, "simt: cannot write %s\n", path.c_str());
}

// What is alive now was not freed by anybody. A process may rely on the driver for that, so it is listed; it is a finding only on demand.
void atExit() {
  Driver& driver = Driver::get();
  for (const auto& context : driver.contexts.all())
    if (const std::string leaks = context->leaks(); !leaks.empty()) {
      driver.reports.alive(leaks);
      if (driver.environment.leaksAreFindings) driver.reports.found("leak", "when the process ended: " + leaks);
    }
  driver.writeReport();
  if (!driver.environment.failOnFindings || driver.reports.findings() == 0) return;
  std::fprintf(stderr, "simt: the process ends with findings\n%s", driver.reports.table().c_str());
  std::fflush(nullptr);
  _exit(kFindingsExitCode);
}

// A signal handler may do next to nothing, so a thread writes, and then lets the signal have its way.
void watchTermination() {
  struct sigaction now = {};
  if (sigaction(SIGTERM, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) return;  // the application sees to it
  sem_init(&told, 0, 0);
  std::thread([] {
    while (sem_wait(&told) != 0) {
    }
    Driver::get().writeReport();
    std::signal(SIGTERM, SIG_DFL);
    std::raise(SIGTERM);
    kill(getpid(), SIGTERM);  // raise was for this thread, which may have it blocked
  }).detach();
  std::signal(SIGTERM, [](int) { sem_post(&told); });
}

}  // namespace

void Driver::watchExit() {
  std::atexit(atExit);
  if (!environment.report.empty()) watchTermination();
}

void Driver::writeReport() const {
  if (environment.report.empty()) return;
  const std::string path = environment.report + "." + std::to_string(getpid());
  writeFile(path + ".json", reports.json());
  writeFile(path + ".txt", reports.table());
}

}  // namespace lantern::simt::driver

using namespace lantern::simt::driver;

// ---- not CUDA: for C++ tests ----

#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT const char* simtReportJson() {
  static thread_local std::string text;
  text = Driver::get().reports.json();
  return text.c_str();
}
EXPORT const char* simtReportTable() {
  static thread_local std::string text;
  text = Driver::get().reports.table();
  return text.c_str();
}
EXPORT const char* simtLastError() {
  static thread_local std::string text;
  text = Driver::get().lastError();
  return text.c_str();
}
EXPORT uint64_t simtFindings() { return Driver::get().reports.findings(); }
EXPORT void simtClearReport() { Driver::get().reports.clear(); }
EXPORT void simtWriteReport() { Driver::get().writeReport(); }
