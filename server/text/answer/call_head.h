// The name that stands before a call's arguments.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_CALL_HEAD_H_
#define HYDRAD_SERVER_TEXT_ANSWER_CALL_HEAD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hydrad {

struct CallHead {
  enum class Progress : uint8_t { kMore, kComplete, kNone };
  Progress progress = Progress::kNone;
  std::string_view name{};  // points into the text
};

inline constexpr size_t kMaxCallHeadBytes = 512;

// Reads what may become name[ARGS]{ or name[CALL_ID]id[ARGS]{, with or without [ARGS], the id and white space
// before the bracket. Complete: the text ends with the bracket that begins the arguments. A name has the
// characters a-z A-Z 0-9 _ . - and the whole at most kMaxCallHeadBytes.
CallHead ReadCallHead(std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_CALL_HEAD_H_
