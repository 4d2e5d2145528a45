#include "geglu.h"

#include "common/gatedUnit.h"

namespace lantern::LANTERN_ISA {

namespace {

const auto activate = [](vfloat z) { return geluBoth(z); };

}  // namespace

Status geglu(const GegluParams& p, Context& c) { return gatedUnit(p, c, activate); }
Status gegluBackward(const GegluBackwardParams& p, Context& c) { return gatedUnitBackward(p, c, activate); }

}  // namespace lantern::LANTERN_ISA
