#include "swiglu.h"

#include "common/gatedUnit.h"

namespace lantern::LANTERN_ISA {

namespace {

const auto activate = [](vfloat z) { return siluBoth(z); };

}  // namespace

Status swiglu(const SwigluParams& p, Context& c) { return gatedUnit(p, c, activate); }
Status swigluBackward(const SwigluBackwardParams& p, Context& c) { return gatedUnitBackward(p, c, activate); }

}  // namespace lantern::LANTERN_ISA
