// Launches of gated linear units (common/gatedUnit.cuh).
#pragma once
#include "launch.h"
#include "rowWalk.h"

namespace lantern::cuda {

template <class Params>
Status launchGated(const Params& p, Context& c, const char* stem) {
  const std::string entry = entryOf(stem, {p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(p.rows, p.cols, {{p.gate, p.dtype, p.gateStride}, {p.up, p.dtype, p.upStride}, {p.y, p.dtype, p.yStride}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

template <class Params>
Status launchGatedBackward(const Params& p, Context& c, const char* stem) {
  const std::string entry = entryOf(stem, {p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(p.rows, p.cols, {{p.dy, p.dtype, p.dyStride}, {p.gate, p.dtype, p.gateStride}, {p.up, p.dtype, p.upStride},
                                              {p.dgate, p.dtype, p.dgateStride}, {p.dup, p.dtype, p.dupStride}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

}  // namespace lantern::cuda
