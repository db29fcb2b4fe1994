// The special registers (%tid, %ctaid, %laneid, ...): one array of lanes each, filled when a worker takes a
// launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/exec.h"

namespace ptxsim {

inline constexpr uint32_t kSpecialBytes = 32 * 256;

bool FindSpecial(std::string_view name, Ref* ref, Type* type);
void FillSpecials(std::byte* file, const Launch& launch, int warp);
void SetBlockSpecials(std::byte* file, Dim3 index);  // %ctaid

}  // namespace ptxsim
