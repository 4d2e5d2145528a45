// Mapped files: contents, and the ones that are not there, empty or no files at all.
#include "../../native/runtime/mappedFile.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "harness.h"

using namespace lantern;

namespace {

// A temporary file with these contents, removed at the end of the test.
struct Temporary {
  char path[32] = "/tmp/lantern-test-XXXXXX";
  explicit Temporary(const std::string& contents) {
    const int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, contents.data(), contents.size()) == ssize_t(contents.size()));
    close(fd);
  }
  ~Temporary() { unlink(path); }
};

}  // namespace

TEST("mapped file: its bytes, even after the name is gone") {
  MappedFile file;
  {
    const Temporary t("lantern");
    CHECK(mapFile(t.path, file).ok());
  }
  CHECK(file.bytes == 7 && std::memcmp(file.data, "lantern", 7) == 0);
  unmapFile(file);
}

TEST("mapped file: what is written to it stays in memory") {
  const Temporary t("lantern");
  MappedFile written, read;
  CHECK(mapFile(t.path, written).ok());
  static_cast<char*>(written.data)[0] = 'L';
  CHECK(std::memcmp(written.data, "Lantern", 7) == 0);
  CHECK(mapFile(t.path, read).ok());
  CHECK(std::memcmp(read.data, "lantern", 7) == 0);
  unmapFile(written);
  unmapFile(read);
}

TEST("mapped file: empty") {
  const Temporary t("");
  MappedFile file;
  CHECK(mapFile(t.path, file).ok());
  CHECK(file.bytes == 0 && file.data == nullptr);
  unmapFile(file);
}

TEST("mapped file: missing, a folder") {
  MappedFile file;
  const Status missing = mapFile("/no/such/file", file);
  CHECK(missing.code == Code::io && missing.message.find("cannot open /no/such/file: No such file") == 0);
  const Status folder = mapFile("/tmp", file);
  CHECK(folder.code == Code::io && folder.message.find("/tmp") != std::string::npos);
  CHECK(file.data == nullptr);
}
