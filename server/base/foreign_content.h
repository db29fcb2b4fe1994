// What a file that should be JSON or safetensors holds instead, told by its first bytes.
#ifndef HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_
#define HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_

#include <cstddef>
#include <string_view>

namespace hydrad {

// How many bytes from the beginning of a file ForeignContent looks at.
inline constexpr size_t kForeignContentBytes = 256;

// Returns what follows the name of a file in an error: what the file is and what to do, for example "is a
// git-lfs pointer, not the file itself: ...". The result is empty for bytes that are not recognised, and
// always for those of a safetensors file or a JSON object.
std::string_view ForeignContent(std::string_view begin);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_
