// Launches: what is refused, what ends the context, what is reported; modules.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "driverSupport.h"
#include "fatbin.h"

using namespace lantern::simt::test;

namespace {

int attribute(CUfunction f, CUfunction_attribute a) {
  int value = -1;
  OK(cuFuncGetAttribute(&value, a, f));
  return value;
}

CUresult launchGrid(Session& s, unsigned x, unsigned y, unsigned z, unsigned block) {
  CUdeviceptr p = 0;
  int n = 0;
  void* args[] = {&p, &n};
  return cuLaunchKernel(s.kernel("addOne"), x, y, z, block, 1, 1, 0, s.stream, args, nullptr);
}

// The exit code of a process that runs f and ends.
template <class F>
int exitCodeOf(F f) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    std::freopen("/dev/null", "w", stderr);
    f();
    std::exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST("driver launch: grids, blocks, launch bounds and parameters beyond the limits are refused") {
  Session s;
  OK(launchGrid(s, 1, 1, 1, 256));
  for (const auto& [x, y, z, block] : {std::array{0u, 1u, 1u, 32u}, {1u, 65536u, 1u, 32u}, {1u, 1u, 65536u, 32u}, {2147483648u, 1u, 1u, 32u},
                                       {1u, 1u, 1u, 0u}, {1u, 1u, 1u, 257u}, {1u, 1u, 1u, 1025u}})
    CHECK_CU(CUDA_ERROR_INVALID_VALUE, launchGrid(s, x, y, z, block));
  const CUfunction f = s.kernel("addOne");
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s.stream, nullptr, nullptr));
  CUdeviceptr p = 0;
  void* args[] = {&p, nullptr};
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s.stream, args, nullptr));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s.stream, nullptr, args));
  OK(cuStreamSynchronize(s.stream));
}

TEST("driver launch: dynamic shared memory beyond 48 KiB must be asked for, and has an end") {
  Session s;
  const CUdeviceptr y = s.buffer(1024);
  const CUfunction f = s.kernel("dynamicShared");
  CHECK(attribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == 49152);
  CHECK(attribute(s.kernel("reversed"), CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == 49152 - 640);
  OK(s.launch("dynamicShared", 1, 256, 49152, y));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, s.launch("dynamicShared", 1, 256, 49153, y));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 166913));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NUM_REGS, 8));
  OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 166912));
  CUfunction again = nullptr;
  OK(cuModuleGetFunction(&again, s.module, "dynamicShared"));
  CHECK(again == f);
  OK(s.launch("dynamicShared", 1, 256, 166912, y));
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<float>(y, 256)[0] == 255);
}

TEST("driver launch: registers times threads must fit") {
  Session s;
  const CUfunction f = s.kernel("manyRegisters");
  const int registers = attribute(f, CU_FUNC_ATTRIBUTE_NUM_REGS), most = attribute(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  CHECK(registers > 96 && most < 1024 && most >= 256);
  const CUdeviceptr p = s.buffer(std::vector<float>(96 * 32 + 1024)), q = s.buffer(4 * (96 * 32 + 1024));
  CHECK_CU(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, s.launch("manyRegisters", 1, unsigned(most + 32), 0, q, p));
  OK(s.launch("manyRegisters", 1, 32, 0, q, p));
  OK(cuStreamSynchronize(s.stream));
  CHECK(attribute(s.kernel("onStack"), CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES) >= 96);
  int blocks = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 256, 0));
  CHECK(blocks == 65536 / ((registers + 7) / 8 * 8 * 256));
}

TEST("driver launch: an error in a kernel is the context's for good, with its own code") {
  struct Case {
    const char* kernel;
    CUresult result;
  };
  const Case cases[] = {
      {"beyond", CUDA_ERROR_ILLEGAL_ADDRESS}, {"misaligned", CUDA_ERROR_MISALIGNED_ADDRESS}, {"trap", CUDA_ERROR_ILLEGAL_INSTRUCTION}};
  for (const Case& c : cases) {
    Session s;
    const CUdeviceptr x = s.buffer(zerosOf(256));
    s.kernel("addOne");
    OK(s.launch(c.kernel, 1, 32, 0, x, 256));
    CHECK_CU(c.result, cuStreamSynchronize(s.stream));
    CHECK(std::string(simtLastError()).find(c.kernel) != std::string::npos);
    std::vector<float> host(256);
    CHECK_CU(c.result, cuMemcpyDtoH(host.data(), x, 1024));
    CHECK_CU(c.result, s.launch("addOne", 1, 32, 0, x, 32));
    CUevent event = nullptr;
    CHECK_CU(c.result, cuEventCreate(&event, 0));
    CHECK(reports("error: ") && simtFindings() == 0);
  }
}

TEST("driver launch: a finding is an error that names it; or it is only recorded") {
  for (const bool record : {false, true}) {
    Session s({{"FINDINGS", record ? "record" : "fail"}});
    const CUdeviceptr x = s.buffer(std::vector<int>(1));
    OK(s.launch("race", 4, 1, 0, x));
    CHECK_CU(record ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(s.stream));
    CHECK(simtFindings() > 0 && reports("finding: global race"));
    CHECK(record || std::string(simtLastError()).find("driverKernels.cu:") != std::string::npos);
  }
  Session s({{"CHECKS", "none"}});
  const CUdeviceptr x = s.buffer(std::vector<int>(1));
  OK(s.launch("race", 4, 1, 0, x));
  OK(cuStreamSynchronize(s.stream));
  CHECK(simtFindings() == 0);
}

TEST("driver modules: functions and variables by name; not after the module is gone") {
  Session s;
  CUfunction f = s.kernel("readCounter"), none = nullptr;
  CHECK_CU(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&none, s.module, "noSuchKernel"));
  CUdeviceptr counter = 0;
  size_t bytes = 0;
  OK(cuModuleGetGlobal(&counter, &bytes, s.module, "counter"));
  CHECK(bytes == 4 && s.read<int>(counter, 1)[0] == 7);
  const int nine = 9;
  OK(cuMemcpyHtoD(counter, &nine, 4));
  OK(cuCtxSynchronize());
  const CUdeviceptr y = s.buffer(128);
  OK(s.launch("readCounter", 1, 32, 0, y));
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<int>(y, 32)[31] == 9);
  OK(cuModuleUnload(std::exchange(s.module, nullptr)));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(counter, &nine, 4));
  CHECK(simtFindings() == 0);
  void* args[] = {const_cast<CUdeviceptr*>(&y)};
  CHECK_CU(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s.stream, args, nullptr));
  CHECK(simtFindings() == 1);
}

TEST("driver modules: unloading one while launches of it are enqueued is found") {
  Session s;
  const CUdeviceptr x = s.buffer(zerosOf(32));
  OK(s.launch("addOne", 1, 32, 0, x, 32));
  cuModuleUnload(std::exchange(s.module, nullptr));
  CHECK(simtFindings() == 1 && reports("unsynchronised unload"));
}

TEST("driver modules: PTX text can be replaced by that of a file, for the module that is named and no other") {
  const std::string ptx = lantern::simt::Fatbin::read(kernelImage().data()).ptx, file = "/tmp/lantern-replacement." + std::to_string(getpid()) + ".ptx";
  std::string changed = ptx;
  const size_t initial = changed.find("counter = 7");
  CHECK(initial != std::string::npos);
  if (initial != std::string::npos) changed.replace(initial, 11, "counter = 8");
  std::ofstream(file, std::ios::binary) << changed;
  const size_t entry = ptx.find(".entry ") + 7;
  const std::string name = ptx.substr(entry, ptx.find('(', entry) - entry);
  for (const bool named : {true, false}) {
    const std::string setting = (named ? name : "another") + "=" + file;
    Session s({{"REPLACE", setting.c_str()}});
    const CUdeviceptr y = s.buffer(32 * sizeof(int));
    OK(s.launch("readCounter", 1, 32, 0, y));
    OK(cuCtxSynchronize());
    CHECK(s.read<int>(y, 32)[0] == (named ? 8 : 7));
  }
  std::remove(file.c_str());
}

TEST("driver modules: PTX alone loads; nobody knows its registers then") {
  Session s;
  const std::string ptx = lantern::simt::Fatbin::read(kernelImage().data()).ptx;
  CUmodule module = nullptr;
  CUfunction f = nullptr;
  OK(cuModuleLoadData(&module, ptx.c_str()));
  OK(cuModuleGetFunction(&f, module, "addOne"));
  int value = 0;
  CHECK_CU(CUDA_ERROR_NOT_SUPPORTED, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
  OK(cuModuleUnload(module));
  const char* const nonsense = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() { nonsense.u32 %r1; }";
  CHECK_CU(CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&module, nonsense));
}

TEST("driver report: launches by shape, counters by line, resources and occupancy by architecture, entry points that were not launched") {
  Session s;
  const CUdeviceptr x = s.buffer(zerosOf(1024));
  for (int i = 0; i < 3; ++i) OK(s.launch("addOne", 4, 256, 0, x, 1024));
  OK(s.launch("addOne", 2, 128, 0, x, 256));
  OK(cuStreamSynchronize(s.stream));
  const std::string json = simtReportJson();
  const auto has = [&](const std::string& text) { return json.find(text) != std::string::npos; };
  CHECK(has("\"addOne\":{\"launches\":4,") && has("\"trap\":{\"launches\":0,"));
  CHECK(has("\"grid\":[4,1,1],\"block\":[256,1,1],\"dynamicShared\":0,\"launches\":3,"));
  CHECK(has("\"bytesRead\":" + std::to_string(4 * (3 * 1024 + 256))) && has("\"footprintWritten\":" + std::to_string(4 * (3 * 1024 + 256))));
  CHECK(has("\"sm_120\":{\"registers\":") && has("\"sm_80\":{\"blocks\":8,\"threads\":1}"));
  CHECK(has("driverKernels.cu\",\"line\":") && has("\"cuLaunchKernel\":4"));
}

TEST("driver exit: findings make the exit code of the process, unless they are only recorded; leaks when asked") {
  const auto race = [](const char* findings) {
    return [findings] {
      auto& s = *new Session({{"FINDINGS", findings}});
      const CUdeviceptr x = s.buffer(std::vector<int>(1));
      s.launch("race", 4, 1, 0, x);
      cuStreamSynchronize(s.stream);
    };
  };
  const auto leak = [](const char* checks) {
    return [checks] {
      auto& s = *new Session({{"CHECKS", checks}});
      s.buffer(64);
    };
  };
  CHECK(exitCodeOf(race("fail")) == 66);
  CHECK(exitCodeOf(race("record")) == 0);
  CHECK(exitCodeOf(leak("races,initialised,count")) == 0);
  CHECK(exitCodeOf(leak("all")) == 66);
  CHECK(exitCodeOf([] { setenv("LANTERN_SIMT_CHECKS", "rases", 1), cuInit(0); }) == -1);  // a misspelt setting
}

// The other half of the next test, a program of its own with a driver of its own: opens the driver, says so with a byte, waits for the signal.
const char* const kChannel = "SIMT_TEST_CHANNEL";
const bool told = [] {
  const char* channel = std::getenv(kChannel);
  if (!channel) return false;
  cuInit(0);
  if (write(std::atoi(channel), "", 1) != 1) _exit(1);
  for (;;) pause();
}();

TEST("driver exit: a process that is told to end writes its report first") {
  const std::string prefix = "/tmp/simtReport." + std::to_string(getpid()) + ".";
  int channel[2];
  CHECK(pipe(channel) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    setenv("LANTERN_SIMT_REPORT", prefix.c_str(), 1);
    setenv(kChannel, std::to_string(channel[1]).c_str(), 1);
    execl("/proc/self/exe", "machineTest", nullptr);
    _exit(1);
  }
  close(channel[1]);
  char ready = 0;
  CHECK(read(channel[0], &ready, 1) == 1);
  kill(pid, SIGTERM);
  int status = 0;
  waitpid(pid, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  const std::string file = prefix + "." + std::to_string(pid);
  CHECK(readFile(file + ".json").find("\"cuInit\":1") != std::string::npos);
  unlink((file + ".json").c_str()), unlink((file + ".txt").c_str());
  close(channel[0]);
}

TEST("driver exit: the report is written under the process's number") {
  const std::string prefix = "/tmp/simtReport." + std::to_string(getpid());
  int writer = 0;
  CHECK(exitCodeOf([&] {
    auto& s = *new Session({{"REPORT", prefix.c_str()}});
    const CUdeviceptr x = s.buffer(zerosOf(32));
    s.launch("addOne", 1, 32, 0, x, 32);
    cuStreamSynchronize(s.stream);
    writer = getpid();
    std::FILE* f = std::fopen((prefix + ".pid").c_str(), "w");
    std::fprintf(f, "%d", writer);
    std::fclose(f);
  }) == 0);
  const std::string pid = readFile(prefix + ".pid"), json = readFile(prefix + "." + pid + ".json"), table = readFile(prefix + "." + pid + ".txt");
  CHECK(json.find("\"addOne\":{\"launches\":1,") != std::string::npos && table.find("addOne") != std::string::npos);
  for (const std::string& end : {std::string(".pid"), "." + pid + ".json", "." + pid + ".txt"}) unlink((prefix + end).c_str());
}
