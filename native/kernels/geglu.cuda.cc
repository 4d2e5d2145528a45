#include "geglu.h"

#include "common/gatedUnitLaunch.h"

namespace lantern::cuda {

Status geglu(const GegluParams& p, Context& c) { return launchGated(p, c, "geglu_forward"); }
Status gegluBackward(const GegluBackwardParams& p, Context& c) { return launchGatedBackward(p, c, "geglu_backward"); }

}  // namespace lantern::cuda
