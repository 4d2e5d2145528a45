// The CPU as a device: a stream that an executor thread runs, and pages behind a caching allocator.
#include "../backend.h"

#include <cstdlib>
#include <cstring>

#include "../allocator.h"
#include "../pages.h"
#include "../stream.h"
#include "dispatch.h"

namespace lantern {

namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, size_t budget) : stream_(std::make_unique<Stream>(threads)), allocator_(pages_, budget) {}
  ~CpuBackend() override { stream_.reset(); }

  std::string name() const override { return processorName(); }

  Status allocate(size_t bytes, void*& p) override {
    p = allocator_.allocate(bytes);
    return p ? Status::fine() : Status::error(Code::outOfMemory, "");
  }
  void free(void* p) override { allocator_.free(p); }
  void releaseUnused() override { allocator_.releaseUnused(); }
  Memory memory() override {
    const Allocator::Stats s = allocator_.stats();
    return {s.live, s.peak, s.reserved, stream_->workspaceBytes(), s.budget};
  }
  void resetPeak() override { allocator_.resetPeak(); }

  Status launch(int kernel, const void* params) override {
    stream_->launch(kernels_[kernel], params);
    return Status::fine();
  }
  int64_t launched() const override { return stream_->launched(); }

  Status upload(void* to, const void* from, size_t bytes) override {
    void* copy = std::malloc(bytes);  // the caller may change its memory before the stream gets here
    if (!copy) return Status::error(Code::outOfMemory, "no host memory for an upload; free some");
    std::memcpy(copy, from, bytes);
    stream_->host([=] {
      std::memcpy(to, copy, bytes);
      std::free(copy);
    });
    return Status::fine();
  }
  void download(void* to, const void* from, size_t bytes, Done done) override {
    stream_->fence([=, done = std::move(done)](Status status) {
      if (status.ok() && bytes) std::memcpy(to, from, bytes);
      done(std::move(status));
    });
  }

  void told(int64_t n) override { stream_->told(n); }

  bool readsHostMemory() const override { return true; }
  void unmapFile(MappedFile file) override {
    stream_->host([file] { lantern::unmapFile(file); });
  }

  void profile(bool on) override { stream_->profile(on); }
  std::map<std::string, Timing> timings() override { return stream_->timings(); }

 private:
  struct Pages : MemorySource {  // gives pages back in stream order
    CpuBackend& backend;
    explicit Pages(CpuBackend& b) : backend(b) {}
    void* map(size_t bytes) override { return mapPages(bytes); }
    void unmap(void* p, size_t bytes) override {
      if (backend.stream_) backend.stream_->host([p, bytes] { unmapPages(p, bytes); });
      else unmapPages(p, bytes);
    }
  };

  const Kernel* const kernels_ = dispatch().chosen->kernels;
  std::unique_ptr<Stream> stream_;
  Pages pages_{*this};
  Allocator allocator_;
};

}  // namespace

std::unique_ptr<Backend> openCpu(int threads, size_t budget) { return std::make_unique<CpuBackend>(threads, budget); }

}  // namespace lantern
