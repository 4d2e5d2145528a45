#include "mappedFile.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lantern {

Status mapFile(const std::string& path, MappedFile& out) {
  const auto fail = [&](const char* what) { return Status::error(Code::io, std::string(what) + " " + path + ": " + strerror(errno)); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail("cannot open");
  struct stat s;
  if (fstat(fd, &s) != 0) {
    const Status status = fail("cannot stat");
    close(fd);
    return status;
  }
  // Writable, so that an op that writes to a weight changes a copy of the page instead of ending the process; the file stays as it is.
  // Nothing is reserved for such copies: a model may be larger than the memory.
  void* p = s.st_size ? mmap(nullptr, size_t(s.st_size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0) : nullptr;
  const Status status = p == MAP_FAILED ? fail("cannot map") : Status::fine();
  close(fd);  // the mapping keeps the file
  if (status.ok()) out = {p, size_t(s.st_size)};
  return status;
}

void unmapFile(MappedFile file) {
  if (file.data) munmap(file.data, file.bytes);
}

}  // namespace lantern
