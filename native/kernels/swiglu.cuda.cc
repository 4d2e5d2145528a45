#include "swiglu.h"

#include "common/gatedUnitLaunch.h"

namespace lantern::cuda {

Status swiglu(const SwigluParams& p, Context& c) { return launchGated(p, c, "swiglu_forward"); }
Status swigluBackward(const SwigluBackwardParams& p, Context& c) { return launchGatedBackward(p, c, "swiglu_backward"); }

}  // namespace lantern::cuda
