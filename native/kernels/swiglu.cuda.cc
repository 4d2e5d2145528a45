#include "swiglu.h"

#include "common/launch.h"
#include "common/rowWalk.h"

namespace lantern::cuda {

Status swiglu(const SwigluParams& p, Context& c) {
  const std::string entry = entryOf("swiglu_forward", {p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(p.rows, p.cols, {{p.gate, p.dtype, p.gateStride}, {p.up, p.dtype, p.upStride}, {p.y, p.dtype, p.yStride}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

Status swigluBackward(const SwigluBackwardParams& p, Context& c) {
  const std::string entry = entryOf("swiglu_backward", {p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(p.rows, p.cols, {{p.dy, p.dtype, p.dyStride}, {p.gate, p.dtype, p.gateStride}, {p.up, p.dtype, p.upStride},
                                              {p.dgate, p.dtype, p.dgateStride}, {p.dup, p.dtype, p.dupStride}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

}  // namespace lantern::cuda
