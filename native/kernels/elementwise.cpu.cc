#include "elementwise.h"

#include "common/split.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

template <class X, class Y>
void copyRow(const X* x, Y* y, int64_t n) {
  if constexpr (sizeof(X) == sizeof(Y)) memcpy(y, x, size_t(n) * sizeof(X));
  else
    eachVector(0, n, [&](int64_t i, auto left) { storePart(y + i, loadPart(x + i, left), left); });
}

// Rows that lie one after the other are one long run; it is cut by length, so that one huge row keeps every thread busy too.
template <class X, class Y>
void copyAll(const CopyParams& p, Pool& pool) {
  const X* x = static_cast<const X*>(p.x);
  Y* y = static_cast<Y*>(p.y);
  if (p.rows == 1 || (p.xStride == p.cols && p.yStride == p.cols))
    parallelRange(pool, p.rows * p.cols, [&](int64_t begin, int64_t end) { copyRow(x + begin, y + begin, end - begin); });
  else parallelRows(pool, p.rows, p.cols, [&](int64_t row) { copyRow(x + row * p.xStride, y + row * p.yStride, p.cols); });
}

template <class A, class B, class Y>
void addScaledRange(const AddScaledParams& p, int64_t begin, int64_t end) {
  const A* a = static_cast<const A*>(p.a);
  const B* b = static_cast<const B*>(p.b);
  Y* y = static_cast<Y*>(p.y);
  const float alpha = float(p.alpha), beta = float(p.beta);
  if (b)
    eachVector(begin, end, [&](int64_t i, auto n) { storePart(y + i, loadPart(a + i, n) * alpha + loadPart(b + i, n) * beta, n); });
  else eachVector(begin, end, [&](int64_t i, auto n) { storePart(y + i, loadPart(a + i, n) * alpha, n); });
}

template <class T>
void multiplyRange(const MultiplyParams& p, int64_t begin, int64_t end) {
  const T* a = static_cast<const T*>(p.a);
  const T* b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.y);
  eachVector(begin, end, [&](int64_t i, auto n) { storePart(y + i, loadPart(a + i, n) * loadPart(b + i, n), n); });
}

template <class T>
int64_t nonFinite(const T* x, int64_t begin, int64_t end) {
  vint found = {};
  eachVector(begin, end, [&](int64_t i, auto n) { found -= (asInt(loadPart(x + i, n)) & 0x7f800000) == 0x7f800000; });  // true is -1
  int64_t total = 0;
  for (int k = 0; k < kLanes; ++k) total += found[k];
  return total;
}

}  // namespace

Status fill(const FillParams& p, Context& c) {
  if (p.dtype == kInt32) {
    int32_t* y = static_cast<int32_t*>(p.y);
    parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) { std::fill(y + begin, y + end, int32_t(p.value)); });
    return Status::fine();
  }
  return forType(p.dtype, [&](auto t) {
    auto* y = static_cast<decltype(t)*>(p.y);
    const auto value = fromFloat<decltype(t)>(float(p.value));
    parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) { std::fill(y + begin, y + end, value); });
    return Status::fine();
  });
}

Status copy(const CopyParams& p, Context& c) {
  if (p.xDtype == kInt32 || p.dtype == kInt32) {
    if (p.xDtype != p.dtype) return Status::error(Code::invalidArgument, "copy: int32 is copied to int32 only");
    copyAll<int32_t, int32_t>(p, c.pool);
    return Status::fine();
  }
  return forTypes(p.xDtype, p.dtype, [&](auto x, auto y) {
    copyAll<decltype(x), decltype(y)>(p, c.pool);
    return Status::fine();
  });
}

Status addScaled(const AddScaledParams& p, Context& c) {
  return forTypes(p.aDtype, p.dtype, [&](auto a, auto y) {
    return forType(p.b ? p.bDtype : kFloat32, [&](auto b) {
      parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) {
        addScaledRange<decltype(a), decltype(b), decltype(y)>(p, begin, end);
      });
      return Status::fine();
    });
  });
}

Status multiply(const MultiplyParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) { multiplyRange<decltype(t)>(p, begin, end); });
    return Status::fine();
  });
}

Status countNonFinite(const CountNonFiniteParams& p, Context& c) {
  const int64_t items = (p.count + kItemElements - 1) / kItemElements;
  int64_t* found = static_cast<int64_t*>(c.workspace.shared(size_t(items + 1) * sizeof(int64_t)));
  if (!found) return Status::error(Code::outOfMemory, "countNonFinite: no memory for the partial counts");
  return forType(p.dtype, [&](auto t) {
    parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) {
      found[begin / kItemElements] = nonFinite(static_cast<const decltype(t)*>(p.x), begin, end);
    });
    int64_t total = 0;
    for (int64_t i = 0; i < items; ++i) total += found[i];
    *p.found = int32_t(std::min<int64_t>(total, INT32_MAX));
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
