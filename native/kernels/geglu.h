// GeGLU, the gated activation of ModernBERT's feed-forward block (Shazeer 2020, arXiv 2002.05202), with the exact gelu.
//
//   Phi(z) = (1 + erf(z / sqrt(2))) / 2,  gelu(z) = z Phi(z),  y = gelu(gate) * up
//
// Backward, Phi computed again rather than kept; phi is the density of the normal distribution:
//   dup   = dy * gelu(gate)
//   dgate = dy * up * (Phi(gate) + gate phi(gate))
//
// Shapes, strides and aliasing are those of swiglu.h.
#pragma once
#include "swiglu.h"

namespace lantern {

using GegluParams = SwigluParams;
using GegluBackwardParams = SwigluBackwardParams;

}  // namespace lantern
