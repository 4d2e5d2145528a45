#include "pooling.h"

#include "common/gather.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kColumns = 256;  // of a column block of meanPooling: its sums stay in the first-level cache

Status checkSequences(const char* op, const int32_t* cu, int64_t sequences, int64_t tokens) {
  const auto fail = [&](int64_t s, const std::string& what) {
    return Status::error(Code::outOfRange, std::string(op) + ": sequence " + std::to_string(s) + what);
  };
  if (cu[0] != 0) return Status::error(Code::outOfRange, std::string(op) + ": cuSeqlens starts at " + std::to_string(cu[0]) + ", not at 0");
  for (int64_t s = 0; s < sequences; ++s) {
    if (cu[s + 1] == cu[s]) return fail(s, " has no tokens; leave empty sequences out of the batch");
    if (cu[s + 1] < cu[s] || cu[s + 1] > tokens)
      return fail(s, " is [" + std::to_string(cu[s]) + ", " + std::to_string(cu[s + 1]) + ") of " + std::to_string(tokens) + " tokens");
  }
  return Status::fine();
}

template <class T>
void meanColumns(const MeanPoolingParams& p, int64_t s, int64_t begin, int64_t end) {
  alignas(64) float sums[kColumns] = {};
  const T* x = static_cast<const T*>(p.x);
  for (int64_t t = p.cuSeqlens[s]; t < p.cuSeqlens[s + 1]; ++t)
    eachVector(begin, end, [&](int64_t k, auto n) {
      store(sums + (k - begin), load(sums + (k - begin)) + loadPart(x + t * p.cols + k, n));
    });
  const float scale = 1.f / float(p.cuSeqlens[s + 1] - p.cuSeqlens[s]);
  T* y = static_cast<T*>(p.y) + s * p.cols;
  eachVector(begin, end, [&](int64_t k, auto n) { storePart(y + k, load(sums + (k - begin)) * scale, n); });
}

template <class T>
void meanBackwardColumns(const MeanPoolingBackwardParams& p, int64_t s, int64_t begin, int64_t end) {
  const T* dy = static_cast<const T*>(p.dy) + s * p.cols;
  T* dx = static_cast<T*>(p.dx);
  const float scale = 1.f / float(p.cuSeqlens[s + 1] - p.cuSeqlens[s]);
  for (int64_t t = p.cuSeqlens[s]; t < p.cuSeqlens[s + 1]; ++t)
    eachVector(begin, end, [&](int64_t k, auto n) { storePart(dx + t * p.cols + k, loadPart(dy + k, n) * scale, n); });
}

// Row r of dx, the sum of the rows of dy in the chain first, next[first], ... (-1 ends it).
template <class T>
void sumChain(const T* dy, const int32_t* next, int32_t first, T* dx, int64_t cols) {
  eachVector(0, cols, [&](int64_t k, auto n) {
    vfloat total = {};
    for (int32_t i = first; i >= 0; i = next[i]) total += loadPart(dy + i * cols + k, n);
    storePart(dx + k, total, n);
  });
}

template <class T>
void normalizeRow(const L2NormalizeParams& p, int64_t row) {
  const T* x = static_cast<const T*>(p.x) + row * p.cols;
  T* y = static_cast<T*>(p.y) + row * p.cols;
  // Scaled by the largest magnitude first: the square of a float32 beyond 1.8e19 is infinite.
  vfloat top = {};
  for (int64_t i = 0; i < p.cols; i += kLanes) top = max(abs(loadPart(x + i, p.cols - i)), top);
  const float largest = maxOf(top), inverse = largest > 0 ? 1.f / std::max(largest, 1e-37f) : 0.f;
  vfloat square[2] = {};
  for (int64_t i = 0, k = 0; i < p.cols; i += kLanes, k ^= 1) {
    const vfloat v = loadPart(x + i, p.cols - i) * inverse;
    square[k] += v * v;
  }
  const float norm = std::max(std::sqrt(sum(square[0] + square[1])) * std::max(largest, 1e-37f), float(p.eps));
  for (int64_t i = 0; i < p.cols; i += kLanes) storePart(y + i, loadPart(x + i, p.cols - i) / norm, p.cols - i);
  if (p.norm) p.norm[row] = norm;
}

template <class T>
void normalizeBackwardRow(const L2NormalizeBackwardParams& p, int64_t row) {
  const T* dy = static_cast<const T*>(p.dy) + row * p.cols;
  const T* x = static_cast<const T*>(p.x) + row * p.cols;
  T* dx = static_cast<T*>(p.dx) + row * p.cols;
  const float inverse = 1.f / p.norm[row];
  vfloat dot[2] = {};
  for (int64_t i = 0, k = 0; i < p.cols; i += kLanes, k ^= 1)
    dot[k] += loadPart(dy + i, p.cols - i) * (loadPart(x + i, p.cols - i) * inverse);
  const float along = p.norm[row] > float(p.eps) ? sum(dot[0] + dot[1]) : 0.f;
  for (int64_t i = 0; i < p.cols; i += kLanes) {
    const vfloat y = loadPart(x + i, p.cols - i) * inverse;
    storePart(dx + i, (loadPart(dy + i, p.cols - i) - y * along) * inverse, p.cols - i);
  }
}

}  // namespace

Status lastTokenPooling(const LastTokenPoolingParams& p, Context& c) {
  if (Status s = checkSequences("lastTokenPooling", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    parallelRows(c.pool, p.sequences, p.cols, [&](int64_t s) {
      const T* last = static_cast<const T*>(p.x) + int64_t(p.cuSeqlens[s + 1] - 1) * p.cols;
      std::copy_n(last, p.cols, static_cast<T*>(p.y) + s * p.cols);
    });
    return Status::fine();
  });
}

Status lastTokenPoolingBackward(const LastTokenPoolingBackwardParams& p, Context& c) {
  if (Status s = checkSequences("lastTokenPoolingBackward", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    T* dx = static_cast<T*>(p.dx);
    parallelRange(c.pool, p.tokens * p.cols, [&](int64_t begin, int64_t end) { std::fill(dx + begin, dx + end, T{}); });
    parallelRows(c.pool, p.sequences, p.cols, [&](int64_t s) {
      std::copy_n(static_cast<const T*>(p.dy) + s * p.cols, p.cols, dx + int64_t(p.cuSeqlens[s + 1] - 1) * p.cols);
    });
    return Status::fine();
  });
}

Status meanPooling(const MeanPoolingParams& p, Context& c) {
  if (Status s = checkSequences("meanPooling", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    parallelColumns(c.pool, p.sequences, p.cols, kColumns,
                    [&](int64_t s, int64_t begin, int64_t end) { meanColumns<decltype(t)>(p, s, begin, end); });
    return Status::fine();
  });
}

Status meanPoolingBackward(const MeanPoolingBackwardParams& p, Context& c) {
  if (Status s = checkSequences("meanPoolingBackward", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t covered = int64_t(p.cuSeqlens[p.sequences]) * p.cols;
    T* dx = static_cast<T*>(p.dx);
    std::fill(dx + covered, dx + p.tokens * p.cols, T{});  // tokens behind the last sequence belong to none
    parallelColumns(c.pool, p.sequences, p.cols, kColumns,
                    [&](int64_t s, int64_t begin, int64_t end) { meanBackwardColumns<T>(p, s, begin, end); });
    return Status::fine();
  });
}

Status gatherRows(const GatherRowsParams& p, Context& c) {
  if (Status s = checkIndices("gatherRows", "row", p.rows, p.count, p.xRows); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    gather(c.pool, static_cast<const decltype(t)*>(p.x), p.rows, static_cast<decltype(t)*>(p.y), p.count, p.cols);
    return Status::fine();
  });
}

// Every row of dx is written by one item, from a chain of the rows of dy that it received, in ascending order.
Status gatherRowsBackward(const GatherRowsBackwardParams& p, Context& c) {
  if (Status s = checkIndices("gatherRowsBackward", "row", p.rows, p.count, p.xRows); !s.ok()) return s;
  int32_t* first = static_cast<int32_t*>(c.workspace.shared(size_t(p.xRows + p.count + 1) * sizeof(int32_t)));
  if (!first) return Status::error(Code::outOfMemory, "gatherRowsBackward: no memory for the chains of rows");
  int32_t* next = first + p.xRows;
  std::fill_n(first, p.xRows, -1);
  for (int64_t i = p.count - 1; i >= 0; --i) {
    next[i] = first[p.rows[i]];
    first[p.rows[i]] = int32_t(i);
  }
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    parallelRows(c.pool, p.xRows, p.cols, [&](int64_t row) {
      sumChain(static_cast<const T*>(p.dy), next, first[row], static_cast<T*>(p.dx) + row * p.cols, p.cols);
    });
    return Status::fine();
  });
}

Status l2Normalize(const L2NormalizeParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { normalizeRow<decltype(t)>(p, row); });
    return Status::fine();
  });
}

Status l2NormalizeBackward(const L2NormalizeBackwardParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { normalizeBackwardRow<decltype(t)>(p, row); });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
