#include "elementwise.h"

#include "common/launch.h"
#include "common/rowWalk.h"

namespace lantern::cuda {

namespace {

template <class Params>
Status launchWalk(Context& c, const std::string& entry, const Params& p, const RowWalk& w) {
  if (entry.empty()) return unknownDType();
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

}  // namespace

Status fill(const FillParams& p, Context& c) {
  const RowWalk w = walkRows(1, p.count, {{p.y, p.dtype, 0}});
  return launchWalk(c, p.dtype == kInt32 ? "elementwise_fillI32" : entryOf("elementwise_fill", {p.dtype}), p, w);
}

Status copy(const CopyParams& p, Context& c) {
  const bool integers = p.xDtype == kInt32 || p.dtype == kInt32;
  if (integers && p.xDtype != p.dtype) return Status::error(Code::invalidArgument, "copy: int32 is copied to int32 only");
  const bool run = p.rows <= 1 || (p.xStride == p.cols && p.yStride == p.cols);  // one long row
  const RowWalk w = run ? walkRows(1, p.rows * p.cols, {{p.x, p.xDtype, 0}, {p.y, p.dtype, 0}})
                        : walkRows(p.rows, p.cols, {{p.x, p.xDtype, p.xStride}, {p.y, p.dtype, p.yStride}});
  if (p.xDtype != p.dtype) return launchWalk(c, entryOf("elementwise_copy", {p.xDtype, p.dtype}), p, w);
  return launchWalk(c, bytesOf(p.dtype) == 2 ? "elementwise_copy16" : "elementwise_copy32", p, w);
}

Status addScaled(const AddScaledParams& p, Context& c) {
  const int64_t bDtype = p.b ? p.bDtype : p.aDtype;
  const RowWalk w = walkRows(1, p.count, {{p.a, p.aDtype, 0}, {p.b, bDtype, 0}, {p.y, p.dtype, 0}});
  return launchWalk(c, entryOf("elementwise_addScaled", {p.aDtype, bDtype, p.dtype}), p, w);
}

Status multiply(const MultiplyParams& p, Context& c) {
  const RowWalk w = walkRows(1, p.count, {{p.a, p.dtype, 0}, {p.b, p.dtype, 0}, {p.y, p.dtype, 0}});
  return launchWalk(c, entryOf("elementwise_multiply", {p.dtype}), p, w);
}

// The count is the same however it is cut, so the cut follows the device.
Status countNonFinite(const CountNonFiniteParams& p, Context& c) {
  const std::string entry = entryOf("elementwise_count", {p.dtype});
  if (entry.empty()) return unknownDType();
  const int64_t wanted = (p.count + kWalkThreads * 16 - 1) / (kWalkThreads * 16);
  const int blocks = int(std::clamp<int64_t>(wanted, 1, 4 * c.multiprocessors));
  int64_t* partial = static_cast<int64_t*>(c.workspace(size_t(blocks) * sizeof(int64_t)));
  if (!partial) return noWorkspace("countNonFinite");
  const int width = packWidth({{p.x, p.dtype, 0}});
  LANTERN_TRY(c.launch(entry.c_str(), {unsigned(blocks)}, kWalkThreads, 0, p, width, partial));
  return c.launch("elementwise_countTotal", {1}, kWalkThreads, 0, p.found, partial, blocks);
}

}  // namespace lantern::cuda
