// A fault as the error that the CPU's kernel would have returned.
#pragma once
#include "../status.h"
#include "fault.h"

namespace lantern::cuda {

Status toStatus(const Fault& fault);

}  // namespace lantern::cuda
