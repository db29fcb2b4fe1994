// What a file that should be JSON or safetensors holds instead, told by its first bytes.
#ifndef HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_
#define HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_

#include <cstddef>
#include <string_view>

namespace hydrad {

// As many bytes of a file as ForeignContent looks at.
inline constexpr size_t kForeignContentBytes = 256;

// "is a git-lfs pointer, not the file itself: ...", for text behind the name of a file: what it is and what
// to do. Empty for bytes that it does not know; never anything for a safetensors file or a JSON object.
std::string_view ForeignContent(std::string_view begin);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_FOREIGN_CONTENT_H_
